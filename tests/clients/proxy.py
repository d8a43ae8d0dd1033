"""A TCP proxy that cuts a connection in the middle of a chosen event."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Self
from urllib.parse import SplitResult, urlsplit

REQUEST_HEAD = re.compile(rb"(POST|GET|DELETE) \S+ HTTP/1\.1\r\n(.+?\r\n)\r\n", re.DOTALL)
LAST_EVENT_ID = re.compile(rb"^last-event-id: *(.+?)\r$", re.MULTILINE | re.IGNORECASE)


class CuttingProxy:
    """Forward bytes to a server; for each entry of `cuts`, cut one connection after that many events.

    Only events with the marker count. The event after them is torn: its first half still arrives, so a
    client that trusts half an event, or takes its id for received, loses or repeats something.
    """

    def __init__(self, target: str, *cuts: int, marker: bytes = b"notifications/progress") -> None:
        self.target: SplitResult = urlsplit(target)
        self.cuts = list(cuts)
        self.marker = marker
        self.sent: list[bytearray] = []  # bytes from clients, one entry per connection
        self.on_event: Callable[[], None] | None = None
        """Called once, when the first event with the marker arrives."""

    @property
    def url(self) -> str:
        """The URL that leads through the proxy."""
        host, port = self._listener.sockets[0].getsockname()[:2]
        return self.target._replace(netloc=f"{host}:{port}").geturl()

    @property
    def resumptions(self) -> list[str]:
        """The Last-Event-ID headers of GET requests."""
        heads = [head for sent in self.sent for head in REQUEST_HEAD.findall(bytes(sent))]
        ids = [LAST_EVENT_ID.search(fields) for method, fields in heads if method == b"GET"]
        return [match[1].decode() for match in ids if match]

    @property
    def tool_calls(self) -> int:
        """How many times a tool was called."""
        return sum(len(re.findall(rb'"method": ?"tools/call"', sent)) for sent in self.sent)

    @property
    def initializations(self) -> int:
        """How many times a session was opened."""
        return sum(len(re.findall(rb'"method": ?"initialize"', sent)) for sent in self.sent)

    async def __aenter__(self) -> Self:
        self._connections: list[asyncio.Task[None]] = []
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.append(asyncio.create_task(self._connect(reader, writer)))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self.target.hostname, self.target.port)
        sent = bytearray()
        self.sent.append(sent)
        directions = [
            asyncio.create_task(self._requests(reader, server_writer, sent)),
            asyncio.create_task(self._responses(server_reader, writer)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            server_writer.transport.abort()
            writer.close()

    async def _requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, sent: bytearray) -> None:
        while chunk := await client.read(65536):
            sent += chunk
            server.write(chunk)
            await server.drain()

    async def _responses(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        received, passed = b"", 0
        while chunk := await server.read(65536):
            received += chunk
            if self.on_event is not None and self.marker in chunk:
                on_event, self.on_event = self.on_event, None
                on_event()
            end = self._cut(received)
            client.write(received[passed:end])
            passed = len(received)
            await client.drain()
            if end is not None:
                self.cuts.pop(0)
                return

    def turn(self, target: str) -> None:
        """Lead to another server, and cut the connections there are."""
        self.target = urlsplit(target)
        for connection in self._connections:
            connection.cancel()

    def _cut(self, received: bytes) -> int | None:
        """Return the position at which to cut a connection's bytes, if it is due."""
        if not self.cuts:
            return None
        events = [match.end() for match in re.finditer(re.escape(self.marker), received)]
        return events[self.cuts[0]] if len(events) > self.cuts[0] else None
