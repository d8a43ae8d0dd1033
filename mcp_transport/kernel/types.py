"""Types that the engine and the kernel exchange about a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from starlette.requests import Request

from mcp_transport.domain.circuit_breaker import CircuitBreaker
from mcp_transport.domain.principal import Principal
from mcp_transport.kernel.errors import NoChannel
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["CallLimits", "Caller", "CallerSession", "ClientChannel", "ClientInfo", "RetrySafety"]


class CallerSession(Protocol):
    """The operations of a handler on the session that it was called in."""

    @property
    def short_id(self) -> str:
        """Return the session's short id, as in logs."""

    async def read(self) -> dict[str, bytes]:
        """Return all state that the session's tools stored."""

    async def write(self, name: str, value: bytes | None) -> bool:
        """Store a value or, with None, delete it; return whether it existed before."""

    def to_json(self, value: Any) -> bytes:
        """Encode a value as JSON. Raises: TypeError, ValueError, RecursionError if that is impossible."""

    def from_json(self, raw: bytes) -> Any:
        """Decode a value of `to_json`."""

    async def set_log_level(self, level: str) -> None:
        """Set the minimum level of notifications/message for the client."""

    async def subscribe(self, uri: str, *, active: bool) -> None:
        """Subscribe the session to changes of a resource or, with `active=False`, unsubscribe it."""


class Caller(Request):
    """The caller of a handler, available as `ctx.request_context.request`.

    It is a Starlette request without a body, for compatibility: the SDK's own transport passes a Starlette request.
    """

    def __init__(self, request: HTTPRequest, principal: Principal, session: CallerSession | None = None) -> None:
        scope = {
            "type": "http",
            "http_version": request.http_version,
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "root_path": "",
            "query_string": b"",
            "headers": request.headers.raw,
            "client": (request.peer, 0),
            "server": None,
            "user": principal.user,
            "state": {},
        }
        super().__init__(scope)
        self.http_request, self.principal, self.address = request, principal, request.peer
        self.own_session = session  # `session` is a property of Starlette's Request
        self.cancelled = False


class ClientChannel:
    """Sends a handler's messages to its client; a subclass overrides what is possible."""

    can_request: bool = False
    """Can a request to the client be delivered and its reply received?"""

    @property
    def is_full(self) -> bool:
        """Return whether the next notification would wait for the client."""
        return False

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the request's own stream, if it has one."""

    async def request(self, method: str, params: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        """Send a request on the request's own stream and wait for the reply, `seconds` at most.

        Raises: ClientError, NoChannel, TimeoutError.
        """
        raise NoChannel(method)

    def seconds_waited(self) -> float:
        """Return for how long the handler has waited for the client."""
        return 0.0

    def withdraw(self) -> None:
        """Cancel the requests to the client whose replies are no longer awaited."""

    async def emit(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the session's GET stream, if there is a session."""

    async def close_stream(self) -> None:
        """Close the socket, if the client reconnects for the remaining events."""


@dataclass(slots=True, kw_only=True)  # not frozen: see `protocol.http`
class ClientInfo:
    """The client of a request, as its session or, without one, the request's envelope describes it."""

    protocol_version: str
    client_info: Mapping[str, Any] | None = None
    capabilities: Mapping[str, Any] | None = None
    session_id: str | None = field(default=None, repr=False)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> ClientInfo:
        """Return what the envelope in `_meta` says; a checked one has a revision and capabilities."""
        version, capabilities = meta[PROTOCOL_VERSION_META_KEY], meta[CLIENT_CAPABILITIES_META_KEY]
        return cls(protocol_version=version, client_info=meta.get(CLIENT_INFO_META_KEY), capabilities=capabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """The limits of one tool; None stands for the setting."""

    max_concurrency: int | None = None
    """How many calls of the tool run in a process at a time; None for any number."""
    timeout: float | None = None
    """In seconds, without the time in which the tool waits for its client."""
    max_result_bytes: int | None = None
    uses_thread: bool = False
    """Is the tool a synchronous function?"""
    circuit_breaker: CircuitBreaker | None = None
    read_only: bool = False
    """Does the tool declare that it changes nothing?"""
    coalesce: bool = False
    """Do calls that are the same at the same time share one run?"""
    shared: bool = False
    """Also those of different callers?"""


@dataclass(frozen=True, slots=True)
class RetrySafety:
    """Whether a request may run again after the node that ran it was lost."""

    safe: bool
    """May a client retry it, since running it twice has no further effect?"""
    durable: bool = False
    """Does another node run it again without the client's help?"""
