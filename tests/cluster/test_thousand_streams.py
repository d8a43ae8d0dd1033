"""A thousand sessions on two nodes, each with an open GET stream: what it takes, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest

from tests.cluster.soak.watch import resident_kib
from tests.support.cluster.answer import Answer
from tests.support.cluster.client import Client
from tests.support.node import Node
from tests.support.processes import start_all, stop_all
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.slow

SESSIONS, AT_ONCE = 1000, 50
LEASE = 10.0
PATIENCE = 20.0
SITE = "tests.support.cluster.site"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def nodes(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    environment = {
        "REDIS_URL": redis_server.url,
        "SITE_FOLDER": str(tmp_path_factory.mktemp("site")),
        "SITE_MCP": f'{{"LEASE_SECONDS": {LEASE}}}',
    }
    nodes = [
        Node(kind, settings=f"{SITE}.settings", application=f"{SITE}.asgi:application", environment=environment)
        for kind in ("daphne", "uvicorn")
    ]
    start_all(nodes)
    yield nodes
    stop_all(nodes)


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
        self.answer: Answer | None = None
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

    async def _read(self, answer: Answer) -> None:
        while (event := await answer.next_event(within=120)) is not None:
            assert event.message["method"] == "notifications/tools/list_changed"
            self.numbers.append(int((event.id or "").rpartition("-")[2]))

    async def leave(self) -> None:
        """Hang up."""
        await self.client.__aexit__()
        if self.reading is not None:
            await self.reading


async def side_by_side(work: Iterable[Any]) -> float:
    """Do all of it, some at a time; return the seconds it took."""
    began, room = time.monotonic(), asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> None:
        async with room:
            await item

    await asyncio.gather(*(one(item) for item in work))
    return time.monotonic() - began


async def heard_by(listeners: Iterable[Listener], numbers: list[int]) -> float:
    """Wait until all have heard exactly this; return the seconds it took."""
    began = time.monotonic()
    waiting = list(listeners)
    while waiting and time.monotonic() < began + PATIENCE:
        await asyncio.sleep(0.02)
        waiting = [listener for listener in waiting if len(listener.numbers) < len(numbers)]
    assert not waiting, f"{len(waiting)} have not heard everything, such as {waiting[0].numbers}"
    return time.monotonic() - began


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
async def listeners(nodes: list[Node]) -> AsyncIterator[list[Listener]]:
    listeners = [Listener(nodes[number % 2].port) for number in range(SESSIONS)]
    yield listeners
    await side_by_side(listener.leave() for listener in listeners)


async def test_a_thousand_streams_on_two_nodes(
    nodes: list[Node], redis_server: RedisServer, listeners: list[Listener]
) -> None:
    one, two = nodes
    for node in nodes:
        await announce(node.port)  # it has joined
    took = await side_by_side(listener.open() for listener in listeners)
    print(f"\n{SESSIONS} sessions opened in {took:.1f} s")
    before = [resident_kib(node.pid) for node in nodes]
    took = await side_by_side(listener.listen() for listener in listeners)
    after = [resident_kib(node.pid) for node in nodes]
    each = [(most - least) * 2 / SESSIONS for least, most in zip(before, after, strict=True)]
    print(f"{SESSIONS} GET streams opened in {took:.1f} s")
    print(f"memory per idle stream: {each[0]:.1f} KiB under {one.server}, {each[1]:.1f} KiB under {two.server}")

    blocking, others = connections(redis_server)
    print(f"connections to Redis: {blocking} wait for messages, {others} others")
    assert blocking == len(nodes), "the inbox is the one connection that waits, however many streams a node holds"
    assert others == len(nodes), "one for all commands of a node"

    await announce(one.port)
    print(f"an announcement reached all in {await heard_by(listeners, [1]):.2f} s")

    await asyncio.to_thread(one.kill)
    began = time.monotonic()
    moving = [listener for listener in listeners if listener.client.ports == (one.port,)]
    await asyncio.gather(*(listener.reading for listener in moving if listener.reading))
    await announce(two.port)
    await side_by_side(listener.listen(two.port) for listener in moving)
    took = time.monotonic() - began
    print(f"{len(moving)} clients of a killed node came back to the other within {took:.1f} s")
    assert took < LEASE
    await heard_by(listeners, [1, 2])
    await announce(two.port)
    await heard_by(listeners, [1, 2, 3])
    assert {tuple(listener.numbers) for listener in listeners} == {(1, 2, 3)}, "each of them once, in order"
    assert connections(redis_server)[0] == 1
