"""A thousand sessions on two nodes, each with an open GET stream: what it takes, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from typing import Any

import pytest

from tests.cluster.soak.watch import resident_kib
from tests.support.cluster.stage import Stage, until
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer
from tests.support.redis.server import RedisServer

SESSIONS, AT_ONCE = 1000, 50
LEASE = 10.0
PATIENCE = 60.0


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(["daphne", "uvicorn"], LEASE_SECONDS=LEASE) as stage:
        yield stage


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Let this process have a socket for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Listener:
    """A client with an open GET stream, and the numbers of what came on it."""

    def __init__(self, port: int) -> None:
        self.client = Client(port)
        self.numbers: list[int] = []
        self.answer: SocketAnswer | None = None
        self.reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open a session."""
        await self.client.initialize()

    async def listen(self, port: int | None = None) -> None:
        """Open the GET stream, or go on after what was heard, and return when that is sure."""
        last = self.answer.last_event_id if self.answer else None
        self.answer = await self.client.get(last, port)
        assert self.answer.status == 200, await self.answer.read()
        await self.answer.next_event(PATIENCE)  # the priming event
        self.reading = asyncio.create_task(self._read(self.answer))

    async def _read(self, answer: SocketAnswer) -> None:
        while (event := await answer.next_event(within=120)) is not None:
            assert event.message["method"] == "notifications/tools/list_changed"
            self.numbers.append(int((event.id or "").rpartition("-")[2]))

    async def leave(self) -> None:
        """Hang up."""
        await self.client.__aexit__()
        if self.reading is not None:
            await self.reading


async def side_by_side(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it, some at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(item: Coroutine[Any, Any, None]) -> None:
        async with room:
            await item

    await asyncio.gather(*(one(item) for item in work))


async def heard_by(listeners: Iterable[Listener], numbers: list[int]) -> None:
    """Wait until all have heard exactly this."""
    waiting = list(listeners)

    def silent() -> list[Listener]:
        return [listener for listener in waiting if len(listener.numbers) < len(numbers)]

    await until(lambda: not silent(), f"{numbers} are heard by all", PATIENCE)


async def announce(port: int) -> None:
    async with Client(port) as client:
        await client.initialize()
        assert await (await client.call("announce")).text() == "announced"


def connections(redis_server: RedisServer) -> tuple[int, int]:
    """Return how many connections wait in a blocking command, and how many there are besides.

    The most of several looks: one that waits is, for a moment, between two commands.
    """
    with redis_server.connect() as asking:
        looks = [[client["flags"] for client in asking.client_list()] for _ in range(10)]
    waiting = max(flags.count("b") for flags in looks)
    return waiting, len(looks[-1]) - waiting - 1


@pytest.fixture
async def listeners(stage: Stage) -> AsyncIterator[list[Listener]]:
    listeners = [Listener(stage.ports[number % 2]) for number in range(SESSIONS)]
    yield listeners
    await side_by_side(listener.leave() for listener in listeners)


async def test_a_thousand_streams_on_two_nodes(stage: Stage, listeners: list[Listener]) -> None:
    redis = stage.redis
    one, two = stage.nodes
    await side_by_side(listener.open() for listener in listeners)
    before = [resident_kib(node.pid) for node in stage.nodes]
    await side_by_side(listener.listen() for listener in listeners)
    after = [resident_kib(node.pid) for node in stage.nodes]
    each = [(most - least) * 2 / SESSIONS for least, most in zip(before, after, strict=True)]
    print(f"memory per idle stream: {each[0]:.1f} KiB under {one.server}, {each[1]:.1f} KiB under {two.server}")

    # The inbox is the one connection of a node that waits, and another one is for all of its commands.
    await until(lambda: connections(redis) == (len(stage.nodes), len(stage.nodes)), "two connections a node")

    await announce(one.port)
    await heard_by(listeners, [1])

    await asyncio.to_thread(one.kill)
    moving = [listener for listener in listeners if listener.client.ports == (one.port,)]
    await asyncio.gather(*(listener.reading for listener in moving if listener.reading))
    await announce(two.port)
    await side_by_side(listener.listen(two.port) for listener in moving)
    await heard_by(listeners, [1, 2])
    await announce(two.port)
    await heard_by(listeners, [1, 2, 3])
    assert {tuple(listener.numbers) for listener in listeners} == {(1, 2, 3)}, "each of them once, in order"
    await until(lambda: connections(redis)[0] == 1, "one node is left, and waits for messages")
