"""A TCP proxy that a test turns to another server, or that swallows what it is given."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Self

from tests.support.processes import LOOPBACK

PIECE = 65_536


class Switch:
    """Passes connections on to a port, in a thread of its own, so that no test's loop delays it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self._loop = asyncio.new_event_loop()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._passes = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port: int = self._listener.getsockname()[1]

    def turn(self, port: int) -> None:
        """Pass new connections on to another port, and cut the ones there are."""
        self._target = port
        self._loop.call_soon_threadsafe(self._cut)

    def swallow(self) -> None:
        """From now on take everything and pass on nothing, not even an end: the other side is as good as gone."""
        self._passes = False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        self._loop.run_forever()
        server.close()
        self._cut()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        self._pairs.discard(pair)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(PIECE):
                if self._passes:
                    target.write(piece)
                    await target.drain()
        except OSError:
            pass
        if self._passes:
            target.close()

    def _cut(self) -> None:
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
