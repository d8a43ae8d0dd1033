"""A client of an `Endpoint` in the same process: requests as values, answers read as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from tests.support.clock import FakeClock, settle

BOTH = "application/json, text/event-stream"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
ALL_CAPABILITIES: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}


@dataclass
class Frame:
    """One server-sent event, or a comment."""

    id: str | None = None
    retry: int | None = None
    data: str | None = None
    comment: str | None = None

    @property
    def message(self) -> dict[str, Any]:
        assert self.data, self
        message: dict[str, Any] = json.loads(self.data)
        return message


def parse_frame(raw: bytes) -> Frame:
    frame = Frame()
    for line in raw.decode().strip("\n").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                frame.comment = value
            case "id":
                frame.id = value
            case "retry":
                frame.retry = int(value)
            case "data":
                frame.data = value
    return frame


@dataclass
class Answer:
    """What came back; the frames of a stream are read one by one, each wait bounded."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    stream: StreamReply | None = None
    _frames: AsyncIterator[bytes] | None = field(default=None, repr=False)
    _ready: list[bytes] = field(default_factory=list, repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error_code(self) -> int:
        code: int = self.json["error"]["code"]
        return code

    async def frame(self) -> Frame | None:
        """Return the next frame, None at the end."""
        assert self.stream is not None, f"a complete answer, not a stream: {self.status} {self.body!r}"
        if self._frames is None:
            self._frames = aiter(self.stream.frames)
        if not self._ready:
            async with asyncio.timeout(60):
                chunk = await anext(self._frames, b"")
            self._ready = [piece + b"\n\n" for piece in chunk.split(b"\n\n") if piece]
        return parse_frame(self._ready.pop(0)) if self._ready else None

    async def event(self) -> Frame:
        """Return the next frame, which must come."""
        frame = await self.frame()
        assert frame is not None, "the stream ended"
        return frame

    async def message(self) -> dict[str, Any]:
        """Return the next JSON-RPC message, which must come; comments and priming events are skipped."""
        message = await self.next_message()
        assert message is not None, "the stream ended"
        return message

    async def next_message(self) -> dict[str, Any] | None:
        """Return the next JSON-RPC message, None at the end."""
        while (frame := await self.frame()) is not None:
            if frame.data:
                return frame.message
        return None

    async def text(self) -> str:
        """Return the text of the tool's result that ends the stream."""
        return text_of((await self.messages())[-1])

    async def messages(self) -> list[dict[str, Any]]:
        """Return everything until the stream ends."""
        found = []
        while (message := await self.next_message()) is not None:
            found.append(message)
        return found

    def close(self) -> None:
        """Leave, as a client that cuts the connection does."""
        assert self.stream is not None
        self.stream.frames.close()


async def send(
    endpoint: Endpoint,
    method: str = "POST",
    body: Any = None,
    *,
    raw: bytes | None = None,
    headers: Mapping[str, str | None] | None = None,
    extra_lines: list[tuple[str, str]] | None = None,
    user: Any = None,
    streaming: bool = True,
    http_version: str = "1.1",
    chunks: AsyncIterable[bytes] | None = None,
    peer: str = "127.0.0.1",
) -> Answer:
    """Send one HTTP request; a header given as None is left out, `chunks` replace the body."""
    defaults: dict[str, str | None] = {"host": "localhost", "accept": BOTH}
    if method == "POST":
        defaults["content-type"] = "application/json"
    merged = {name.lower(): value for name, value in {**defaults, **(headers or {})}.items()}
    lines = [(name, value) for name, value in merged.items() if value is not None] + (extra_lines or [])
    request = HTTPRequest(
        method=method,
        headers=Headers(lines),
        peer=peer,
        user=user,
        streaming=streaming,
        http_version=http_version,
    )
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()

    async def whole() -> AsyncIterator[bytes]:
        yield content

    reply = await endpoint.handle(request, aiter(chunks or whole()))
    answered = {name.lower(): value for name, value in reply.headers}
    if isinstance(reply, Reply):
        return Answer(reply.status, answered, body=reply.body)
    return Answer(reply.status, answered, stream=reply)


class SessionClient:
    """A client of a 2025 session."""

    def __init__(self, endpoint: Endpoint, version: str = "2025-11-25", user: Any = None) -> None:
        self.endpoint, self.version, self.user = endpoint, version, user
        self.session_id = ""
        self._ids = 0

    async def open(self, capabilities: dict[str, Any] | None = None) -> Answer:
        """Send initialize and notifications/initialized."""
        params = {
            "protocolVersion": self.version,
            "capabilities": ALL_CAPABILITIES if capabilities is None else capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }
        answer = await send(self.endpoint, body=request("initialize", params, id=0), user=self.user)
        assert answer.status == 200, answer.body
        self.session_id = answer.headers["mcp-session-id"]
        assert (await self.notify("notifications/initialized")).status == 202
        return answer

    @property
    def headers(self) -> dict[str, str | None]:
        return {"mcp-session-id": self.session_id, "mcp-protocol-version": self.version}

    async def post(self, body: Any, **options: Any) -> Answer:
        headers = {**self.headers, **options.pop("headers", {})}
        return await send(
            options.pop("endpoint", self.endpoint), body=body, headers=headers, user=self.user, **options
        )

    async def request(
        self, method: str, params: dict[str, Any] | None = None, id: Any = None, **options: Any
    ) -> Answer:
        if id is None:
            self._ids += 1
            id = self._ids
        return await self.post(request(method, params, id=id), **options)

    async def call(
        self, tool: str, arguments: dict[str, Any] | None = None, id: Any = None, **options: Any
    ) -> Answer:
        """Call a tool, asking for progress."""
        meta = {"progressToken": "p"}
        return await self.request(
            "tools/call", {"name": tool, "arguments": arguments or {}, "_meta": meta}, id, **options
        )

    async def notify(self, method: str, params: dict[str, Any] | None = None, **options: Any) -> Answer:
        return await self.post(
            {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}, **options
        )

    async def reply(self, to: Any, result: dict[str, Any], **options: Any) -> Answer:
        return await self.post({"jsonrpc": "2.0", "id": to, "result": result}, **options)

    async def get(self, last_event_id: str | None = None, **options: Any) -> Answer:
        headers = {**self.headers, "last-event-id": last_event_id, **options.pop("headers", {})}
        return await send(options.pop("endpoint", self.endpoint), "GET", headers=headers, user=self.user, **options)

    async def delete(self, **options: Any) -> Answer:
        headers = {**self.headers, **options.pop("headers", {})}
        return await send(
            options.pop("endpoint", self.endpoint), "DELETE", headers=headers, user=self.user, **options
        )


def request(method: str, params: dict[str, Any] | None = None, id: Any = 1) -> dict[str, Any]:
    """Build a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, **({"params": params} if params is not None else {})}


async def send_sessionless(
    endpoint: Endpoint,
    method: str,
    params: dict[str, Any] | None = None,
    *,
    id: Any = 1,
    meta: dict[str, Any] | None = None,
    headers: dict[str, str | None] | None = None,
    **options: Any,
) -> Answer:
    """Send a request of 2026-07-28 with all its headers."""
    params = {**(params or {}), "_meta": {**ENVELOPE, **(meta or {})}}
    named = params.get("name", params.get("uri"))
    defaults = {"mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": named}
    body = request(method, params, id=id)
    return await send(endpoint, body=body, headers={**defaults, **(headers or {})}, **options)


# -- waiting ------------------------------------------------------------------------------------------

_ResultT = TypeVar("_ResultT")


def text_of(message: Any) -> str:
    """Return the first text of a tool's result."""
    text: str = message["result"]["content"][0]["text"]
    return text


async def until(condition: Callable[[], Any]) -> None:
    """Let everything run until `condition` holds; bounded."""
    async with asyncio.timeout(60):
        while not condition():
            await settle()


async def later(clock: FakeClock, seconds: float, work: Awaitable[_ResultT]) -> _ResultT:
    """Begin `work`, move the clock on as soon as something waits with a deadline, return what it gave."""
    clock.armed.clear()
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(60):
        await clock.armed.wait()
    await clock.advance(seconds)
    async with asyncio.timeout(60):
        return await task


async def silent(clock: FakeClock, entered: asyncio.Event, work: Awaitable[_ResultT]) -> _ResultT:
    """Send a call whose tool sets `entered` and then says nothing; return its answer, a stream by then."""
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(60):
        await entered.wait()
        await clock.advance(1.0)
        return await task
