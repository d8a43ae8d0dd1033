"""The limit of sessions per principal when several nodes open sessions at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import NoRoom
from mcp_transport.domain.session import session_key
from tests.support.backends import ANN, POLICY, HandClock, in_flight, index_of, session
from tests.support.redis.backend import build_by_hand, leave
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

LIMIT = POLICY.max_sessions_per_principal


@pytest.fixture
async def nodes(server: RedisServer, clock: HandClock) -> AsyncIterator[list[Backend]]:
    """Four nodes, each with its own connection."""
    built = [build_by_hand(server) for _ in range(4)]
    yield built
    for backend in built:
        await leave(backend)


async def open_many(nodes: list[Backend], clock: HandClock, name: str) -> tuple[list[str], int]:
    """Open sessions, each with a call, on all nodes at once; return the live ones, and the number of refusals."""

    async def open_one(backend: Backend, key: str) -> None:
        for idle in await backend.sessions.open(session(clock, key)):
            await backend.sessions.close(idle, None)
        await backend.sessions.enter(key, ANN, "n1", [in_flight(1)])

    keys = [session_key(f"{name}-{number}") for number in range(60)]
    found = await asyncio.gather(
        *(open_one(backend, key) for backend, key in zip(itertools.cycle(nodes), keys, strict=False)),
        return_exceptions=True,
    )
    assert all(item is None or isinstance(item, NoRoom) for item in found), found
    living = [key for key in keys if await nodes[0].sessions.get(key) is not None]
    return living, sum(item is not None for item in found)


async def test_the_limit_holds_for_all_of_them_together(nodes: list[Backend], clock: HandClock) -> None:
    living, _ = await open_many(nodes, clock, "first")
    assert len(living) == LIMIT
    assert await open_many(nodes, clock, "second") == ([], 60)
    assert [key for key in living if await nodes[0].sessions.get(key) is not None] == living


async def test_idle_sessions_behind_many_busy_ones_are_found(server: RedisServer, clock: HandClock) -> None:
    backend = build_by_hand(server, replace(POLICY, max_sessions_per_principal=100))
    keys = [session_key(f"session-{number}") for number in range(100)]
    for key in keys:
        await backend.sessions.open(session(clock, key))
        clock.advance(0.001)
        if key != keys[-1]:
            await backend.sessions.enter(key, ANN, "n1", [in_flight(1)])
    assert await backend.sessions.open(session(clock, session_key("new"))) == (keys[-1],)
    await leave(backend)


async def test_under_a_limit_that_was_lowered_sessions_become_fewer(server: RedisServer, clock: HandClock) -> None:
    many, few = (build_by_hand(server, replace(POLICY, max_sessions_per_principal=limit)) for limit in (100, 2))
    keys = [session_key(f"session-{number}") for number in range(80)]
    for key in keys:
        await many.sessions.open(session(clock, key))
        clock.advance(0.001)
    left = []
    for number in range(4):
        idle = await few.sessions.open(session(clock, session_key(f"new-{number}")))
        left.append(len(idle))
        for key in idle:
            await few.sessions.close(key, None)
    assert left[-1] == 1
    assert (await index_of(few).page()).total == 2
    for backend in (many, few):
        await leave(backend)
