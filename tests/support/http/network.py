"""Sockets of the test's own: each request has a connection, and the test says how it ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

from tests.support.http.answer import PATIENCE, Answer
from tests.support.http.carrier import Carrier, Line
from tests.support.http.request import Request

PIECE = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


class Socket(Line):
    """A TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def write(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self, method: str, within: float = PATIENCE, *, is_last: bool = False) -> SocketAnswer:
        """Wait for the head of an answer; the end of the last one is the end of the connection."""
        async with asyncio.timeout(within):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        lines = [line.partition(":") for line in head[1:-2]]
        stripped = [(name, value.strip()) for name, _, value in lines]
        return SocketAnswer(self, method, int(head[0].split(" ")[1]), stripped, is_last=is_last)

    def cut(self) -> None:
        """End the connection with a reset, as a client that crashed does."""
        own: socket.socket = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    async def close(self) -> None:
        """End the connection, and wait until it has ended."""
        self.writer.close()
        with suppress(ConnectionError):  # the other side was faster
            async with asyncio.timeout(PATIENCE):
                await self.writer.wait_closed()


class SocketAnswer(Answer):
    """An answer read from a socket, by the framing that its head announces."""

    def __init__(
        self, socket: Socket, method: str, status: int, lines: list[tuple[str, str]], *, is_last: bool
    ) -> None:
        super().__init__()
        self._socket, self.status, self.lines = socket, status, lines
        # gunicorn's sync worker waits until the client closes a connection, even one that it has announced to close.
        self._is_last = is_last or (self.header("connection") or "").lower() == "close"
        self._chunk: int | None = None
        self._is_chunked = (self.header("transfer-encoding") or "").lower() == "chunked"
        length = self.header("content-length")
        self._left = int(length) if length is not None else None
        """Bytes of the body to come; None where chunks, or the end of the connection, end it."""
        if method == "HEAD" or self.status in (204, 304) or (self._left == 0 and not self._is_chunked):
            self._finish()

    def _finish(self) -> None:
        self.over = True
        if self._is_last:
            self._socket.writer.close()

    async def _piece(self) -> bytes:
        if self.over:
            return b""
        try:
            piece = await (self._next_chunk() if self._is_chunked else self._next_bytes())
        except (asyncio.IncompleteReadError, ConnectionError):
            self.broken, piece = True, b""
        if not piece or self._left == 0:
            self._finish()
        return piece

    async def _next_chunk(self) -> bytes:
        reader = self._socket.reader
        if self._chunk is None:  # kept, because a wait may be given up before the chunk itself is here
            self._chunk = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        piece = await reader.readexactly(self._chunk + 2)
        self._chunk = None
        return piece[:-2]

    async def _next_bytes(self) -> bytes:
        piece = await self._socket.reader.read(PIECE if self._left is None else min(self._left, PIECE))
        if self._left is not None:
            self.broken = not piece
            self._left -= len(piece)
        return piece

    def cut(self) -> None:
        """End the connection with a reset, as a client that crashed does."""
        self._socket.cut()

    async def close(self) -> None:
        await self._socket.close()


class Network(Carrier):
    """Carries requests to a server on the loopback interface.

    With a small `receive_buffer`, what nobody reads soon stays with the server.
    """

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.port, self._receive_buffer = port, receive_buffer
        self._open: list[Socket] = []

    async def connect(self) -> Socket:
        own, size = socket.socket(), self._receive_buffer
        own.setblocking(False)
        if size:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        try:
            await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self.port))
        except BaseException:
            own.close()
            raise
        streams = await asyncio.open_connection(sock=own, limit=max(size, 4096) if size else PIECE)
        self._open.append(Socket(*streams))
        return self._open[-1]

    async def send(self, request: Request, within: float = PATIENCE) -> SocketAnswer:
        line: Socket | None = None
        try:
            async with asyncio.timeout(within):
                line = await self.connect()
                await line.write(request.encoded())
                return await line.answer(request.method, within, is_last=True)
        except BaseException:
            if line is not None:
                line.writer.close()
            raise

    def cut(self) -> None:
        """End all connections with a reset, and forget them."""
        for line in self._open:
            with suppress(OSError):  # it is closed already
                line.cut()
        self.forget()

    def forget(self) -> None:
        """Forget the connections: a test that makes many ends each of them."""
        self._open.clear()

    async def close(self) -> None:
        for line in self._open:
            await line.close()
