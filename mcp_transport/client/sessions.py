"""The session of a client: opened, saved, resumed by another process, and replaced when the server lost it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import httpx2
import mcp_types as types
import orjson
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from mcp_transport.client.requests import Outgoing
from mcp_transport.client.streams import Position, is_stream

__all__ = ["SavedSession", "SessionState", "keep_seconds", "read_result"]

# The session id that the SDK's transport sees, and may log; requests carry the real one.
_HIDDEN_SESSION_ID: Final = "hidden"
_MAX_SERVER_REQUESTS: Final = 1000
_VERSION: Final = "mcp-protocol-version"
_HEADERS: Final = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class SavedSession:
    """The data that another process needs to resume a session; `to_json` is for files, caches and databases.

    It is a credential: anyone who has it can use the session.
    """

    protocol_version: str
    result: Mapping[str, Any]
    """The server's result of `initialize` or `server/discover`."""
    session_id: str = field(default="", repr=False)
    initialize: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of `initialize`, to open a new session if this one is lost."""
    last_event_id: str = ""
    """The last event of the GET stream."""

    def to_json(self) -> str:
        """Return it as JSON."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> SavedSession:
        """Parse the output of `to_json`. Raises: ValueError."""
        try:
            members = orjson.loads(text)
            saved = cls(**{name: members[name] for name in cls.__dataclass_fields__ if name in members})
            saved._check()
        except (TypeError, ValueError) as error:
            raise ValueError(f"this is not a saved session: {error}") from None
        return saved

    def _check(self) -> None:
        for name in ("protocol_version", "session_id", "last_event_id"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value.isascii() and (value.isprintable() or not value)):
                raise ValueError(f"{name} must be visible ASCII")
        if not isinstance(self.initialize, dict):
            raise TypeError("initialize must be an object")
        is_handshake = self.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
        result_type = types.InitializeResult if is_handshake else types.DiscoverResult
        result_type.model_validate(self.result, by_name=False)


def keep_seconds(result: Mapping[str, Any]) -> float:
    """Return the seconds for which a server stores responses for idempotency keys; 0 if it does not.

    `result` is its result of `initialize` or `server/discover`.
    """
    value: Any = result
    for member in ("capabilities", "experimental", "mcp_transport/idempotencyKey", "keepSeconds"):
        value = value.get(member) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0


def parse_response(content: bytes | str) -> dict[str, Any] | None:
    """Return the JSON-RPC response in a body or an event, or None."""
    try:
        message = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    is_answer = isinstance(message, dict) and ("result" in message or "error" in message)
    return message if is_answer else None


async def read_result(response: httpx2.Response, seconds: float) -> dict[str, Any] | None:
    """Return the result in a JSON response or a stream; None if none arrives within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            answer = await _first_response(response)
    except (httpx2.RequestError, TimeoutError):
        return None
    finally:
        await response.aclose()
    result = answer.get("result") if answer else None
    return result if isinstance(result, dict) else None


async def _first_response(response: httpx2.Response) -> dict[str, Any] | None:
    if not is_stream(response):
        return parse_response(response.content)
    async for event in httpx2.EventSource(response):
        if (answer := parse_response(event.data)) is not None:
            return answer
    return None


class SessionState:
    """The current session of a client."""

    def __init__(self, saved: SavedSession | None = None) -> None:
        """Start without a session, or with a saved one."""
        self.id = saved.session_id if saved else ""
        self.position = Position(saved.last_event_id if saved else "")
        """The position of the GET stream."""
        self.is_saved = saved is not None
        """Does the session outlive this client?"""
        self.initialize: dict[str, Any] = dict(saved.initialize) if saved else {}
        self.headers: dict[str, str] = {}
        """The headers of `initialize`."""
        self.server_request_regions: OrderedDict[str | int, str] = OrderedDict()
        """The region of each of the last server requests, by id: their replies go there."""
        self._saved = saved if saved and saved.session_id else None

    def local_response(self, outgoing: Outgoing) -> httpx2.Response | None:
        """Return the response to a request that need not be sent: the handshake of a resumed session, and its DELETE.

        `initialize` gets the saved result; DELETE is not sent if the session outlives the client.
        """
        if outgoing.verb == "DELETE" and self.is_saved:
            return httpx2.Response(204)
        if self._saved is None:
            return None
        if outgoing.method == "initialize":
            body = {"jsonrpc": "2.0", "id": outgoing.request_id, "result": dict(self._saved.result)}
            return httpx2.Response(200, headers={"mcp-session-id": _HIDDEN_SESSION_ID}, json=body)
        if outgoing.method == "notifications/initialized":
            self._saved = None
            return httpx2.Response(202)
        return None

    def record(self, outgoing: Outgoing, response: httpx2.Response) -> None:
        """Record the session that `initialize` opened, and hide its id, which the SDK would log."""
        if outgoing.method == "initialize" and response.is_success:
            self.id = response.headers.get("mcp-session-id", "")
            if self.id:
                response.headers["mcp-session-id"] = _HIDDEN_SESSION_ID
            self.initialize, self.headers = dict(outgoing.message.get("params") or {}), dict(outgoing.headers)
            self.position = Position()

    def record_server_request(self, request_id: str | int, region: str) -> None:
        """Record the region of a server request."""
        self.server_request_regions[request_id] = region
        if len(self.server_request_regions) > _MAX_SERVER_REQUESTS:
            self.server_request_regions.popitem(last=False)

    def initialize_requests(self) -> list[Outgoing]:
        """Return the requests that open a session like the lost one."""
        request = {"jsonrpc": "2.0", "id": "mcp_transport/initialize", "method": "initialize"}
        first = request | {"params": self.initialize}
        second = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        headers = self.headers or _HEADERS
        return [Outgoing("POST", dict(headers), orjson.dumps(message), message) for message in (first, second)]

    def ping(self, like: Outgoing) -> Outgoing:
        """Return a request that any server answers in a session, in the revision of `like`."""
        message = {"jsonrpc": "2.0", "id": "mcp_transport/ping", "method": "ping"}
        headers = {_VERSION: like.headers[_VERSION]} if _VERSION in like.headers else {}
        return Outgoing("POST", headers | _HEADERS, orjson.dumps(message), message)
