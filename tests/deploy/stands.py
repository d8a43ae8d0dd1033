"""Servers that stand in for nodes, and behave as a test says; all of them say that they are ready."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.deploy.proxies import Proxy
from tests.support.cluster.client import Client
from tests.support.processes import LOOPBACK

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Stand:
    """Reads a request, then behaves."""

    def __init__(self, behave: Behaviour) -> None:
        self.requests: list[str] = []
        self._behave = behave

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
                await reader.readexactly(int(length[1]) if length else 0)
                if head.startswith("GET /readyz "):
                    writer.write(OK)
                else:
                    self.requests.append(head)
                    await self._behave(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def saying(text: bytes) -> Behaviour:
    """Return what answers so."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return say


async def die(writer: asyncio.StreamWriter) -> None:
    """End the connection as a process does that is killed."""
    writer.transport.abort()


@asynccontextmanager
async def behind(
    kind: type[Proxy], *behaviours: Behaviour, dead: int = 0
) -> AsyncIterator[tuple[list[Stand], Client]]:
    """Run stands behind a proxy, and so many ports besides that refuse."""
    stands = [Stand(behave) for behave in behaviours]
    servers = [await asyncio.start_server(stand, LOOPBACK, 0) for stand in stands]
    gone = [await asyncio.start_server(Stand(die), LOOPBACK, 0) for _ in range(dead)]
    proxy = kind([server.sockets[0].getsockname()[1] for server in [*gone, *servers]])
    for server in gone:
        server.close()
        await server.wait_closed()
    try:
        await asyncio.to_thread(proxy.start)
        async with Client(proxy.port) as client:
            yield stands, client
    finally:
        await asyncio.to_thread(proxy.stop)
        for server in servers:
            server.close()
            await server.wait_closed()
