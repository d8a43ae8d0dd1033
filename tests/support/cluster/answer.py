"""An answer read from a socket: status and headers first, the body as somebody asks for it, each wait bounded."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from tests.support.wire import PATIENCE, Request

PIECE = 65_536
_FOREVER = 10 * PATIENCE
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; a priming event has an id and no data."""

    id: str | None = None
    data: str | None = None
    retry: int | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The JSON-RPC message it carries."""
        assert self.data, self
        message: dict[str, Any] = json.loads(self.data)
        return message


@dataclass
class Answer:
    """An answer whose head has arrived; its body is read when somebody asks for it, and not before."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    last_event_id: str | None = None
    retry: int | None = None
    comments: int = 0
    over: bool = False
    broken: bool = False
    """Whether the connection ended before the body did, as it does when a node is killed."""
    _chunk: int | None = field(default=None, repr=False)
    _text: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    async def _read_piece(self) -> None:
        """Append the next bytes of the body, or note its end."""
        try:
            piece = await self._piece()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.broken, piece = True, b""
        self._text += piece
        if not piece:
            self.over = True
            self.writer.close()

    async def _piece(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            if self._chunk is None:  # kept, because a wait may be given up before the chunk itself is here
                self._chunk = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = await self.reader.readexactly(self._chunk + 2)
            self._chunk = None
            return piece[:-2]
        if "content-length" not in self.headers:
            return await self.reader.read(PIECE)
        left = int(self.headers["content-length"]) - len(self._text)
        return await self.reader.readexactly(left) if left else b""

    # -- a complete answer

    async def read(self, within: float = PATIENCE) -> bytes:
        """Return the whole body."""
        async with asyncio.timeout(within):
            while not self.over:
                await self._read_piece()
        assert not self.broken, f"the body breaks off: {bytes(self._text)!r}"
        return bytes(self._text)

    async def json(self, within: float = PATIENCE) -> Any:
        """Return the body's value."""
        body = await self.read(within)
        assert not self.is_stream, (self.status, body)
        return json.loads(body)

    # -- a stream

    async def next_event(self, within: float = PATIENCE) -> Event | None:
        """Return the next event, counting comments on the way; None at the end, `broken` or not."""
        assert self.is_stream, (self.status, self.headers, await self.read())
        async with asyncio.timeout(within):
            while True:
                while (end := self._text.find(b"\n\n")) < 0:
                    if self.over:
                        return None
                    await self._read_piece()
                raw = self._text[:end].decode()
                del self._text[: end + 2]
                if (event := self._parsed(raw)) is not None:
                    return event

    def _parsed(self, raw: str) -> Event | None:
        """Return the event in these lines, None when they are comments."""
        fields: dict[str, str] = {}
        for line in raw.split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            else:
                self.comments += 1
        if not fields:
            return None
        event = Event(fields.get("id"), fields.get("data"), int(fields["retry"]) if "retry" in fields else None)
        self.last_event_id = event.id or self.last_event_id
        self.retry = self.retry if event.retry is None else event.retry
        return event

    async def next_message(self, within: float = PATIENCE) -> dict[str, Any] | None:
        """Return the next JSON-RPC message of the stream, None at the end."""
        async with asyncio.timeout(within):
            while (event := await self.next_event(_FOREVER)) is not None:
                if event.data:
                    return event.message
        return None

    async def messages(self, within: float = PATIENCE) -> list[dict[str, Any]]:
        """Return all messages until the stream ends."""
        found = []
        async with asyncio.timeout(within):
            while (message := await self.next_message(_FOREVER)) is not None:
                found.append(message)
        return found

    async def outcome(self, within: float = PATIENCE) -> dict[str, Any]:
        """Return the JSON-RPC answer, whichever way it comes, leaving out what comes before it."""
        if not self.is_stream:
            answer: dict[str, Any] = await self.json(within)
            return answer
        async with asyncio.timeout(within):
            while (message := await self.next_message(_FOREVER)) is not None:
                if "method" not in message:
                    return message
        raise AssertionError(f"the stream ended without an answer (broken: {self.broken})")

    async def text(self, within: float = PATIENCE) -> str:
        """Return the text of a tool's result."""
        outcome = await self.outcome(within)
        assert "result" in outcome, outcome
        text: str = outcome["result"]["content"][0]["text"]
        return text

    # -- leaving

    def cut(self) -> None:
        """End the connection with a reset, as a client that crashed does."""
        own: socket.socket = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    async def close(self) -> None:
        """End the connection, and wait until it has ended."""
        self.writer.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.writer.wait_closed()
        except ConnectionError:  # the other side was faster
            pass


async def send(port: int, request: Request, *, within: float = PATIENCE, receive_buffer: int = 0) -> Answer:
    """Send one request on a new connection and wait for the head of its answer.

    With a small `receive_buffer`, what nobody reads soon stays with the server.
    """
    own = socket.socket()
    own.setblocking(False)
    if receive_buffer:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    writer = None
    try:
        async with asyncio.timeout(within):
            await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(
                sock=own, limit=max(receive_buffer, 4096) if receive_buffer else PIECE
            )
            writer.write(request.encoded())
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except BaseException:
        (writer or own).close()
        raise
    lines = [line.partition(":") for line in head[1:-2]]
    answer = Answer(int(head[0].split(" ")[1]), {k.lower(): v.strip() for k, _, v in lines}, reader, writer)
    if request.method == "HEAD" or answer.status in (204, 304):
        answer.over = True
        writer.close()
    return answer
