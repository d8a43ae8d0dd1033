"""Claims count each dead writer once, in the same step, however many nodes notice its death."""

from __future__ import annotations

import asyncio

import pytest

from mcp_transport.backends.base import Backend
from tests.support.backends import ANN, KEY, OTHER_KEY, STREAM, HandClock, events, in_flight, session

pytestmark = pytest.mark.servers


async def begin(backend: Backend, clock: HandClock, key: str = KEY) -> None:
    """Let node n1, which has no lease and so is dead, run a call."""
    await backend.sessions.open(session(clock, key))
    await backend.sessions.enter(key, ANN, "n1", [in_flight(1)])


async def losses(backend: Backend, writer: str, node: str, key: str = KEY) -> int | None:
    claimed = await backend.streams.claim(key, STREAM, writer, node)
    return None if claimed is None else claimed.losses


async def test_each_node_that_is_lost_counts(backend: Backend, clock: HandClock) -> None:
    await begin(backend, clock)
    found = [await losses(backend, f"n{number}", f"n{number + 1}") for number in (1, 2, 3)]
    assert found == [1, 2, 3]


async def test_two_nodes_that_take_over_at_once_count_once(backend: Backend, clock: HandClock) -> None:
    await begin(backend, clock)
    found = await asyncio.gather(*(losses(backend, "n1", f"m{number}") for number in range(5)))
    assert sorted(item for item in found if item is not None) == [1]
    (running,) = await backend.sessions.in_flight(KEY)
    assert await losses(backend, running.node, "n9") == 2


async def test_what_its_writer_logs_does_not_change_the_count(backend: Backend, clock: HandClock) -> None:
    await begin(backend, clock)
    await backend.streams.append(KEY, STREAM, events(1), writer="n1")
    assert await losses(backend, "n1", "n2") == 1
    await backend.streams.append(KEY, STREAM, events(1_000_000_001), writer="n2", holder="n2")
    await backend.streams.attach(KEY, ANN, STREAM, 0, "n3")
    assert await losses(backend, "n2", "n3") == 2


async def test_a_node_that_takes_up_what_it_has_written_itself_is_not_lost(
    backend: Backend, clock: HandClock
) -> None:
    await begin(backend, clock)
    assert await losses(backend, "n1", "n1") == 0
    assert await losses(backend, "n1", "n2") == 1


async def test_streams_count_for_themselves(backend: Backend, clock: HandClock) -> None:
    await begin(backend, clock)
    await begin(backend, clock, OTHER_KEY)
    assert await losses(backend, "n1", "n2") == 1
    assert await losses(backend, "n2", "n3") == 2
    assert await losses(backend, "n1", "n2", OTHER_KEY) == 1
