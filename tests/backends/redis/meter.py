"""Measure the cost of operations: the commands that a backend sends, by round trip, checked by MONITOR."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mcp_transport.backends.redis.command_batcher import CommandBatcher
from mcp_transport.backends.redis.scripts import load_scripts
from mcp_transport.engine.endpoint import Endpoint
from tests.support.clock import settle
from tests.support.redis.backend import client_of, node_store
from tests.support.redis.server import RedisServer
from tests.support.redis.users import ADMIN, PASSWORD

_T = TypeVar("_T")
_NAMES = {script.digest: name for name, script in load_scripts().items()}
_SETUP = ("auth", "client", "select", "echo", "xrevrange", "xread")
"""Commands that open a connection, those of the meter itself, and the one that waits for messages."""


_FAR = 0.005
"""Seconds added to each round trip, so that no operation that does not wait for it returns later by chance."""


def _word(command: Sequence[Any]) -> str:
    """Name a command; a script by the name of its file in capitals."""
    name = str(command[0]).lower()
    return _NAMES[str(command[1])].upper() if name == "evalsha" else name


@dataclass
class Trip:
    """Commands that were sent to the server together."""

    words: tuple[str, ...]
    alone: bool
    """Was no other round trip in progress when it began?"""
    returned: bool = False


@dataclass
class Cost:
    """The round trips that an answer waited for, one after the other, and those in parallel or after the answer."""

    blocking: list[tuple[str, ...]] = field(default_factory=list)
    behind: list[tuple[str, ...]] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [" > ".join("+".join(words) for words in trips) or "-" for trips in (self.blocking, self.behind)]
        return f"{len(self.blocking)} blocking: {parts[0]:24} {len(self.behind)} behind: {parts[1]}"

    @property
    def words(self) -> Counter[str]:
        return Counter(word for trip in (*self.blocking, *self.behind) for word in trip)


class Monitor:
    """Counts the commands that the server receives, without those that scripts call."""

    def __init__(self) -> None:
        self.words: list[str] = []

    async def open(self, server: RedisServer) -> None:
        """Begin to listen."""
        self._reader, self._writer = await self._log_in(server)
        self._echo_reader, self._echo_writer = await self._log_in(server)
        self._writer.write(b"MONITOR\r\n")
        await self._reader.readline()

    async def _log_in(self, server: RedisServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**24)
        writer.write(f"AUTH {ADMIN} {PASSWORD}\r\n".encode())
        assert await reader.readline() == b"+OK\r\n"
        return reader, writer

    async def close(self) -> None:
        """Stop listening."""
        for writer in (self._writer, self._echo_writer):
            writer.close()
            await writer.wait_closed()

    async def take(self) -> Counter[str]:
        """Return the commands since the last call."""
        self._echo_writer.write(b"ECHO the-end\r\n")
        found: Counter[str] = Counter()
        async with asyncio.timeout(60):
            while b'"ECHO" "the-end"' not in (line := await self._reader.readline()):
                head, _, rest = line.partition(b"] ")
                command = [word.decode() for word in rest.split(b'"')[1:4:2]]
                if not head.endswith(b"lua") and command[0].lower() not in _SETUP:
                    found[_word(command)] += 1
        await self._echo_reader.readexactly(len(b"$7\r\nthe-end\r\n"))
        return found


class Meter:
    """Measures one operation after the other on endpoints that share a Redis."""

    def __init__(self, endpoints: Sequence[Endpoint], monitor: Monitor) -> None:
        self._endpoints, self._monitor = endpoints, monitor
        self.trips: list[Trip] = []
        self._delaying: set[asyncio.Task[None]] = set()

    def install(self, monkeypatch: Any) -> None:
        """Count every exchange with the server."""
        transmit = CommandBatcher._transmit

        def counted(pipeline: CommandBatcher, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
            alone = all(trip.returned for trip in self.trips)
            self.trips.append(trip := Trip(tuple(_word(command) for command, _ in batch), alone))
            loop = asyncio.get_running_loop()
            answers = [loop.create_future() for _ in batch]
            self._delaying.add(task := loop.create_task(delayed(trip, answers, [answer for _, answer in batch])))
            task.add_done_callback(self._delaying.discard)
            transmit(pipeline, [(command, answer) for (command, _), answer in zip(batch, answers, strict=True)])

        async def delayed(trip: Trip, answers: list[asyncio.Future[Any]], awaited: list[asyncio.Future[Any]]) -> None:
            found = await asyncio.gather(*answers, return_exceptions=True)
            await asyncio.sleep(_FAR)
            trip.returned = True
            for value, future in zip(found, awaited, strict=True):
                if future.done():
                    continue
                if isinstance(value, Exception):
                    future.set_exception(value)
                else:
                    future.set_result(value)

        monkeypatch.setattr(CommandBatcher, "_transmit", counted)

    async def of(self, work: Awaitable[_T]) -> tuple[_T, Cost]:
        """Await `work`; return its result and its cost."""
        await self.quiet()
        self.trips.clear()
        await self._monitor.take()
        result = await work
        begun = list(self.trips)
        awaited = [trip.returned and trip.alone for trip in begun]
        blocking = [trip.words for trip, was in zip(begun, awaited, strict=True) if was]
        behind = [trip.words for trip, was in zip(begun, awaited, strict=True) if not was]
        await self.quiet()
        cost = Cost(blocking, behind + [trip.words for trip in self.trips[len(begun) :]])
        assert await self._monitor.take() == cost.words, "the server saw something else"
        return result, cost

    async def rest(self, before: int | None = None) -> Cost:
        """Return the cost of background work from now on, or since round trip number `before`."""
        before = len(self.trips) if before is None else before
        await self.quiet()
        return Cost([], [trip.words for trip in self.trips[before:]])

    async def quiet(self) -> None:
        """Wait until no task, command or message between nodes is in progress."""
        async with asyncio.timeout(60):
            while not await self._is_quiet():
                await settle()

    async def _is_quiet(self) -> bool:
        before = len(self.trips)
        for endpoint in self._endpoints:
            node, client = await endpoint.pool.node(), client_of(endpoint.backend)
            await settle()
            if not all(trip.returned for trip in self.trips):
                return False
            if client.batcher._waiting:
                return False
            store = node_store(endpoint.backend, node.id)
            newest = await store._inbox.xrevrange(client.keys.inbox(node.id), count=1)
            if newest and newest[0][0].decode() != store._last_id:
                return False
        await settle()
        return len(self.trips) == before
