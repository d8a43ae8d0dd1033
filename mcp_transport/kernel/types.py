"""What the engine and the kernel tell each other about a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request

from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["Caller", "CallerSession", "ClientChannel", "ClientInfo", "Outcome", "RetrySafety"]


class CallerSession(Protocol):
    """What a handler may do with the session it was called in."""

    @property
    def short_id(self) -> str:
        """Return the name the session has in logs."""

    async def read(self) -> dict[str, bytes]:
        """Return everything the session's tools stored."""

    async def write(self, name: str, value: bytes | None) -> bool:
        """Store or, with None, drop one value; return whether it was there before."""

    def to_json(self, value: Any) -> bytes:
        """Write a value. Raises: TypeError, ValueError, RecursionError for what is no JSON."""

    def from_json(self, raw: bytes) -> Any:
        """Read what `to_json` wrote."""

    async def set_log_level(self, level: str) -> None:
        """Set the least severe level of notifications/message the client wants."""

    async def subscribe(self, uri: str, *, wanted: bool) -> None:
        """Note that the client wants, or no longer wants, to hear of changes to a resource."""


class Caller(Request):
    """Who called, as a handler may see it; the SDK hands it on as `ctx.request_context.request`.

    It is a Starlette request, without a body, since that is what the SDK's own transport hands on: a server
    written for that one finds what it looks for.
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
        self.sent, self.principal, self.address = request, principal, request.peer
        self.own_session = session
        self.cancelled = False


class ClientChannel(Protocol):
    """Where a running request's messages to its client go."""

    @property
    def can_request(self) -> bool:
        """Can a request to the client be carried, and its reply come back?"""

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the request's own stream."""

    async def request(self, method: str, params: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        """Send a request on the request's own stream and wait for the reply, `seconds` at most.

        Raises: ClientError, TimeoutError.
        """

    def withdraw(self) -> None:
        """Tell the client that nobody waits for its replies any more."""

    async def emit(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the session's GET stream."""

    async def close_stream(self) -> None:
        """Close the socket; the client comes back for the rest."""


@dataclass(slots=True, kw_only=True)  # not frozen: see `protocol.http`
class ClientInfo:
    """What is known of the client when a request comes in: by its session, or by its own envelope."""

    protocol_version: str
    client_info: Mapping[str, Any] | None = None
    capabilities: Mapping[str, Any] | None = None
    session_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RetrySafety:
    """What a server says of a request it serves, for the case that the node is lost which runs it."""

    safe: bool
    """May a client send it again without fear that it takes effect twice?"""
    durable: bool = False
    """Shall another node run it again by itself?"""


@dataclass(slots=True)  # not frozen: see `protocol.http`
class Outcome:
    """How a request ended: with a result, or with an error and the HTTP status it suggests."""

    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    malformed: bool = False
    """The parameters did not even have the method's shape."""

    def body(self, request_id: RequestId) -> dict[str, Any]:
        """Build the JSON-RPC response."""
        member = {"error": self.error} if self.error is not None else {"result": self.result}
        return {"jsonrpc": "2.0", "id": request_id, **member}

    @property
    def failed(self) -> bool:
        """Tell whether an operator would count this as an error."""
        return self.error is not None or bool(self.result and self.result.get("isError"))
