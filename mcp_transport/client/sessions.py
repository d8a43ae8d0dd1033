"""The session of a client: begun, saved, taken up by another process, and begun anew when the server lost it."""

from __future__ import annotations

import asyncio
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

# What the SDK's transport takes for the id of the session; requests carry the real one.
_HIDDEN: Final = "hidden"
_HEADERS: Final = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class SavedSession:
    """What another process needs to go on with a session; `to_json` is for files, caches and databases.

    Whoever has it can act in the session: keep it as a password.
    """

    protocol_version: str
    result: Mapping[str, Any]
    """What the server answered to `initialize`, or to `server/discover`."""
    session_id: str = field(default="", repr=False)
    initialize: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of `initialize`, to begin anew."""
    last_event_id: str = ""
    """The last event of the stream that is no call's."""

    def to_json(self) -> str:
        """Write it as JSON."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> SavedSession:
        """Read what `to_json` wrote. Raises: ValueError."""
        try:
            members = orjson.loads(text)
            saved = cls(**{name: members[name] for name in cls.__dataclass_fields__ if name in members})
            saved._check()
        except (TypeError, ValueError) as error:
            raise ValueError(f"this is no saved session: {error}") from None
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
    """Return how long a server keeps answers for idempotency keys; 0 if it keeps none, or does not say.

    `result` is its answer to `initialize` or `server/discover`.
    """
    found: Any = result
    for member in ("capabilities", "experimental", "mcp_transport/idempotencyKey", "keepSeconds"):
        found = found.get(member) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) and found > 0 else 0.0


def answer_in(content: bytes | str) -> dict[str, Any] | None:
    """Return the JSON-RPC response that a body or an event holds, or None."""
    try:
        message = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    is_answer = isinstance(message, dict) and ("result" in message or "error" in message)
    return message if is_answer else None


async def read_result(response: httpx2.Response, seconds: float) -> dict[str, Any] | None:
    """Read the result that a response carries, as JSON or as an event; return None if none comes within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            answer = await _first_answer(response)
    except (httpx2.RequestError, TimeoutError):
        return None
    finally:
        await response.aclose()
    result = answer.get("result") if answer else None
    return result if isinstance(result, dict) else None


async def _first_answer(response: httpx2.Response) -> dict[str, Any] | None:
    if not is_stream(response):
        return answer_in(response.content)
    async for event in httpx2.EventSource(response):
        if (answer := answer_in(event.data)) is not None:
            return answer
    return None


class SessionState:
    """The session that requests carry."""

    def __init__(self, saved: SavedSession | None = None) -> None:
        """Begin without a session, or go on with a saved one."""
        self.id = saved.session_id if saved else ""
        self.position = Position(saved.last_event_id if saved else "")
        """That of the stream which is no call's."""
        self.is_kept = saved is not None
        """Shall it outlast this client?"""
        self.initialize: dict[str, Any] = dict(saved.initialize) if saved else {}
        self.headers: dict[str, str] = {}
        """The headers of `initialize`."""
        self._saved = saved if saved and saved.session_id else None

    def local_answer(self, outgoing: Outgoing) -> httpx2.Response | None:
        """Answer what a client that takes up a session need not send.

        That is `initialize`, with what the server answered then; `notifications/initialized`, since it was sent
        once; and DELETE for a session that is kept.
        """
        if outgoing.verb == "DELETE" and self.is_kept:
            return httpx2.Response(204)
        if self._saved is None:
            return None
        if outgoing.method == "initialize":
            body = {"jsonrpc": "2.0", "id": outgoing.request_id, "result": dict(self._saved.result)}
            return httpx2.Response(200, headers={"mcp-session-id": _HIDDEN}, json=body)
        if outgoing.method == "notifications/initialized":
            self._saved = None
            return httpx2.Response(202)
        return None

    def note(self, outgoing: Outgoing, response: httpx2.Response) -> None:
        """Note the session that `initialize` began, and hide its id, which the SDK would log."""
        if outgoing.method == "initialize" and response.is_success:
            self.id = response.headers.get("mcp-session-id", "")
            if self.id:
                response.headers["mcp-session-id"] = _HIDDEN
            self.initialize, self.headers = dict(outgoing.message.get("params") or {}), dict(outgoing.headers)
            self.position = Position()

    def opening(self) -> list[Outgoing]:
        """Return the requests that begin a session like the lost one."""
        request = {"jsonrpc": "2.0", "id": "mcp_transport/initialize", "method": "initialize"}
        first = request | {"params": self.initialize}
        second = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        headers = self.headers or _HEADERS
        return [Outgoing("POST", dict(headers), orjson.dumps(message), message) for message in (first, second)]

    def ping(self, like: Outgoing) -> Outgoing:
        """Return a request that any server answers in a session, with the headers of another one."""
        message = {"jsonrpc": "2.0", "id": "mcp_transport/ping", "method": "ping"}
        return Outgoing("POST", like.headers | _HEADERS, orjson.dumps(message), message)
