"""Stand-ins for nodes with a behaviour that the test chooses; all report that they are ready."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TypeVar

from tests.deploy.proxies import Proxy
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.processes import LOOPBACK

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"

T = TypeVar("T")
Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Stand:
    """Answers /readyz; reads any other request, then runs its behaviour."""

    def __init__(self, behave: Behaviour) -> None:
        self.requests: list[str] = []
        self.is_ready = True
        self._behave = behave
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> int:
        """Start listening; return the port."""
        self._server = await asyncio.start_server(self, LOOPBACK, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Refuse new connections and abort the existing ones."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
                await reader.readexactly(int(length[1]) if length else 0)
                if head.startswith("GET /readyz "):
                    writer.write(OK if self.is_ready else BUSY)
                else:
                    self.requests.append(head)
                    await self._behave(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def saying(text: bytes) -> Behaviour:
    """Return a behaviour with this response."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return say


async def die(writer: asyncio.StreamWriter) -> None:
    """Abort the connection, like a killed process."""
    writer.transport.abort()


def named(name: str) -> Behaviour:
    """Return a behaviour that responds with a name."""
    return saying(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())


@asynccontextmanager
async def behind(
    kind: type[Proxy], *behaviours: Behaviour, dead: int = 0, ready: bool = True
) -> AsyncIterator[tuple[list[Stand], Client, Proxy]]:
    """Run stand-ins behind a proxy, with `dead` more ports that refuse connections."""
    removed, stands = [Stand(die) for _ in range(dead)], [Stand(behave) for behave in behaviours]
    for stand in stands:
        stand.is_ready = ready
    proxy = kind([await stand.listen() for stand in (*removed, *stands)])
    for stand in removed:
        await stand.stop()
    try:
        await asyncio.to_thread(proxy.start)
        async with Client(proxy.port) as client:
            yield stands, client, proxy
    finally:
        await asyncio.to_thread(proxy.stop)
        for stand in stands:
            await stand.stop()


async def until_all(expected: Collection[T], send: Callable[[], Awaitable[T]]) -> list[T]:
    """Send until each expected answer came, and no other one; return the answers.

    No number of requests is enough for it: a worker of nginx may be interrupted between its answer and its note that
    the node is free, and until then other workers send nothing to that node.
    """
    answers: list[T] = []
    async with asyncio.timeout(PATIENCE):
        while set(answers) != set(expected):
            answers.append(await send())
            assert answers[-1] in expected, answers
    return answers
