"""What goes over the wire, whoever carries it: requests with exact bytes, answers read piece by piece."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

PATIENCE = 10.0
"""Seconds after which a wait counts as failed."""

BOTH = "application/json, text/event-stream"
HOST = ("Host", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request; header names and values are sent as they stand here, in Latin-1."""

    method: str = "POST"
    path: str = "/mcp"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunks: tuple[bytes, ...] = ()
    """The body in pieces, for `Transfer-Encoding: chunked`."""

    def adding(self, *lines: tuple[str, str]) -> Request:
        """Return the request with further header lines."""
        return replace(self, headers=(*self.headers, *lines))

    def without(self, name: str) -> Request:
        """Return the request without a header."""
        return replace(self, headers=tuple(line for line in self.headers if line[0].lower() != name.lower()))

    def setting(self, name: str, value: str) -> Request:
        """Return the request with one header changed."""
        return self.without(name).adding((name, value))

    def encoded(self) -> bytes:
        """Return the bytes of the request."""
        lines = [*self.headers]
        if self.chunks:
            lines.append(("Transfer-Encoding", "chunked"))
        elif self.body or self.method == "POST":
            lines.append(("Content-Length", str(len(self.body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        body = (
            b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*self.chunks, b"")) if self.chunks else b""
        )
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or self.body)


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event; a comment has neither id nor data."""

    id: str | None = None
    data: str | None = None


class Answer(ABC):
    """An answer whose head has arrived."""

    status: int
    headers: list[tuple[str, str]]

    def __init__(self) -> None:
        self._text = b""
        self._frames: deque[Frame] = deque()
        self._over = False

    def header(self, name: str) -> str | None:
        """Return a header, None when it is missing; it must not be there twice."""
        values = [value for known, value in self.headers if known.lower() == name.lower()]
        assert len(values) < 2, f"{name} twice: {values}"
        return values[0] if values else None

    @property
    def is_stream(self) -> bool:
        return (self.header("content-type") or "").startswith("text/event-stream")

    @abstractmethod
    async def _piece(self) -> bytes:
        """Return the next bytes of the body, b"" at its end."""

    @abstractmethod
    async def leave(self) -> None:
        """Cut the connection."""

    async def read(self) -> bytes:
        """Return the whole body."""
        async with asyncio.timeout(PATIENCE):
            while piece := await self._piece():
                self._text += piece
        self._over = True
        return self._text

    async def json(self) -> Any:
        """Return the body's value."""
        assert self.header("content-type") == "application/json", (self.status, self.headers, await self.read())
        return json.loads(await self.read())

    async def frame(self) -> Frame | None:
        """Return the next event or comment, None at the end."""
        assert self.is_stream, (self.status, self.headers, await self.read())
        async with asyncio.timeout(PATIENCE):
            while b"\n\n" not in self._text:
                piece = await self._piece()
                if not piece:
                    assert not self._text, f"a stream ends within an event: {self._text!r}"
                    return None
                self._text += piece
        raw, _, self._text = self._text.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in raw.decode().split("\n"))
        return Frame(fields.get("id"), fields.get("data"))

    async def event(self) -> tuple[str | None, dict[str, Any]] | None:
        """Return the id and message of the next event that has one, None at the end."""
        while (frame := await self.frame()) is not None:
            if frame.data:
                return frame.id, json.loads(frame.data)
        return None

    async def message(self) -> dict[str, Any]:
        """Return the next message, which must come."""
        event = await self.event()
        assert event is not None, "the stream ended"
        return event[1]

    async def outcome(self) -> dict[str, Any]:
        """Return the JSON-RPC answer, whichever way it comes."""
        if not self.is_stream:
            message: dict[str, Any] = await self.json()
            return message
        while True:
            message = await self.message()
            if "method" not in message:
                return message

    async def text(self) -> str:
        """Return the text of a tool's result."""
        outcome = await self.outcome()
        assert "result" in outcome, outcome
        text: str = outcome["result"]["content"][0]["text"]
        return text


class Line(ABC):
    """A connection that can carry one request after the other."""

    @abstractmethod
    async def write(self, raw: bytes) -> None: ...

    @abstractmethod
    async def answer(self, method: str) -> Answer: ...


class Carrier(ABC):
    """Carries requests to the served project."""

    @abstractmethod
    async def send(self, request: Request) -> Answer:
        """Send a request on a connection of its own and wait for the head of its answer."""

    async def connect(self) -> Line:
        """Open a connection; only a carrier with real ones has this."""
        raise NotImplementedError

    async def abandon(self, sending: asyncio.Future[Answer]) -> None:
        """Leave while `send` still waits for the head of an answer."""
        sending.cancel()
        await asyncio.wait([sending])

    @abstractmethod
    async def close(self) -> None:
        """Cut what is still open."""


@dataclass
class Socket(Line):
    """A TCP connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self, method: str) -> Answer:
        async with asyncio.timeout(PATIENCE):
            answer = SocketAnswer(self, method)
            await answer.read_head()
        return answer

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):  # the other side was faster
            await self.writer.wait_closed()


class SocketAnswer(Answer):
    """An answer read from a socket, by the framing its head announces."""

    def __init__(self, socket: Socket, method: str) -> None:
        super().__init__()
        self._socket, self._method = socket, method
        self._left: int | None = 0
        """Bytes of the body to come; None when it is chunked, -1 when the end of the connection ends it."""

    async def read_head(self) -> None:
        head = (await self._socket.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:-2])]
        if self._method == "HEAD" or self.status in (204, 304):
            self._finish()
        elif (self.header("transfer-encoding") or "").lower() == "chunked":
            self._left = None
        else:
            length = self.header("content-length")
            self._left = int(length) if length is not None else -1
            if self._left == 0:
                self._finish()

    def _finish(self) -> None:
        self._over = True
        if (self.header("connection") or "").lower() == "close":
            self._socket.writer.close()  # gunicorn's sync worker waits for it

    async def _piece(self) -> bytes:
        reader = self._socket.reader
        if self._over:
            return b""
        if self._left is None:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = (await reader.readexactly(size + 2))[:-2]
            if not piece:
                self._finish()
            return piece
        piece = await reader.read(self._left if self._left > 0 else 65536)
        if self._left > 0:
            assert piece, f"{self._left} bytes of the body are missing"
            self._left -= len(piece)
        if not piece or self._left == 0:
            self._finish()
        return piece

    async def leave(self) -> None:
        await self._socket.close()


@dataclass
class Network(Carrier):
    """Carries requests to a server on the loopback interface."""

    port: int
    _open: list[Socket] = field(default_factory=list)

    async def connect(self) -> Socket:
        socket = Socket(*await asyncio.open_connection("127.0.0.1", self.port))
        self._open.append(socket)
        return socket

    async def send(self, request: Request) -> Answer:
        socket = await self.connect()
        try:
            await socket.write(request.encoded())
            return await socket.answer(request.method)
        except asyncio.CancelledError:
            await socket.close()
            raise

    async def close(self) -> None:
        for socket in self._open:
            await socket.close()
