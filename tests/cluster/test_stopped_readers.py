"""Two hundred streams whose clients read nothing: what each may take of a node's memory; others are served."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.cluster.test_slow_and_vanished_clients import DELAYED, peak_memory
from tests.support.cluster.stage import Stage, until
from tests.support.cluster.store import redis_of
from tests.support.http.client import Client
from tests.support.node import Node

CLIENTS, AT_ONCE = 100, 8
"""Each has two streams that it does not read: of a call that stands alone, and of its session."""
EVENT_BYTES = 4000
EVENTS = 1500
"""Of each call: 6 MB, more than the kernel takes for a client that does not read."""
WORDS, WORD_BYTES = 20, 16_000

STREAM_QUEUE = 16
SERVER_BUFFER = 64 * 1024
"""Where uvicorn and Twisted stop to take more."""
BOUND = STREAM_QUEUE * WORD_BYTES + 2 * SERVER_BUFFER
"""What a socket may hold at most: its queue of events, what the server has of it, and the event on its way."""
WRITE_TIMEOUT = 10.0
CUT = "a client does not accept data in time"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    limits: dict[str, Any] = {
        "STREAM_QUEUE": STREAM_QUEUE,
        "STREAM_MAX_EVENTS": 50,
        "WRITE_TIMEOUT_SECONDS": WRITE_TIMEOUT,
    }
    with Stage(["uvicorn", "daphne"], LEASE_SECONDS=6.0, **limits) as stage:
        yield stage


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Let this process have a socket for each stream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files(node: Node) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


async def stop_reading(client: Client, room: asyncio.Semaphore) -> None:
    """Open both streams, and have much sent on them; few at a time: a session's messages wait for their log."""
    async with room:
        await flood(client)


async def flood(client: Client) -> None:
    await client.initialize()
    await client.get()
    await client.call_alone("flood", {"steps": EVENTS, "size": EVENT_BYTES})
    for _ in range(WORDS):
        assert await (await client.call("whisper", {"text": "x" * WORD_BYTES})).text() == "whispered"


@pytest.mark.parametrize("number", [0, 1], ids=["uvicorn", "daphne"])
async def test_streams_that_nobody_reads_take_a_bounded_memory_each_and_delay_nobody(
    stage: Stage, number: int
) -> None:
    redis_of(stage.store)  # moto takes ten minutes for so many events, and boto3 more memory than is measured
    node = stage.nodes[number]
    async with Client(node.port) as other, AsyncExitStack() as stack:
        await other.initialize()
        clients = [await stack.enter_async_context(Client(node.port, receive_buffer=4096)) for _ in range(CLIENTS)]
        room = asyncio.Semaphore(AT_ONCE)
        files, memory = open_files(node), peak_memory(node)
        stopping = asyncio.ensure_future(asyncio.gather(*(stop_reading(client, room) for client in clients)))
        longest = 0.0
        while not stopping.done():
            asked = time.monotonic()
            assert await (await other.call("add", {"a": 1, "b": 2})).text() == "3"
            longest = max(longest, time.monotonic() - asked)
        await stopping
        grown = peak_memory(node) - memory
        print(
            f"{node.server}: {grown / 2 / CLIENTS / 1024:.0f} KiB for each socket, {longest:.2f} s at most for others"
        )
        assert grown < 2 * CLIENTS * BOUND
        assert longest < DELAYED
        # At least those of the calls, whose clients have not taken in time what was sent.
        await until(lambda: node.log.count(CUT) >= CLIENTS, "stopped readers are cut off", PATIENCE)
        for client in clients:
            client.cut()
    await until(lambda: open_files(node) <= files, "all sockets are given back", PATIENCE)
