"""A server of one connection at a time, and a proxy that loses answers, on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

__all__ = ["LosingProxy", "Serving", "listening", "read_request"]

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serving = AbstractAsyncContextManager[str]


@asynccontextmanager
async def listening(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve connections; yield the URL of the endpoint."""
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        connections[task] = writer  # noted here, since a task that is cancelled early never begins
        task.add_done_callback(lambda task: connections.pop(task).transport.abort())

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/mcp"
    finally:
        server.close()
        for connection in tuple(connections):
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the head and the body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


class LosingProxy:
    """Passes requests on; of those with the marker it loses the answers of the first few, and cuts the connection."""

    def __init__(self, port: int, losses: int, marker: bytes = b'"tools/call"', after: bytes = b"") -> None:
        """Lose `losses` answers; `after` is what an answer must hold before it is cut, by default anything."""
        self._port, self.losses, self._marker, self._after = port, losses, marker, after
        self.requests: list[bytes] = []

    def serve(self) -> Serving:
        """Listen; yield the URL."""
        return listening(self._handle)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        lost = asyncio.Event()
        answers = asyncio.ensure_future(self._pass_on(from_server, writer, lost))
        requests = asyncio.ensure_future(self._take(reader, to_server, lost))
        try:
            await asyncio.wait({answers, requests}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_server.transport.abort()  # first: the wait below is cancelled, too, when the proxy closes
            for task in (answers, requests):
                task.cancel()
            await asyncio.gather(answers, requests, return_exceptions=True)

    async def _take(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while True:
            request = await read_request(source)
            self.requests.append(request)
            if self.losses and self._marker in request:
                self.losses -= 1
                lost.set()
            target.write(request)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        seen = b""
        while chunk := await source.read(65536):
            seen += chunk if lost.is_set() else b""
            if lost.is_set() and self._after in seen:
                return
            target.write(chunk)
            await target.drain()
