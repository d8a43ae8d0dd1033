"""How many sessions there are: counted with the heartbeat in ranges of the index, and never at a scrape or a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from mcp_transport.backends.base import Backend
from mcp_transport.backends.records import SessionCounts
from mcp_transport.domain.session import session_key
from mcp_transport.metrics import _session_metrics
from tests.support.backends import ANN, KEY, POLICY, HandClock, session
from tests.support.redis.backend import build_by_hand, client_of, leave
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

KEYS = [session_key(f"counted {number}") for number in range(5)]


@pytest.fixture
async def other(server: RedisServer, clock: HandClock) -> AsyncIterator[Backend]:
    """Another process."""
    backend = build_by_hand(server)
    yield backend
    await leave(backend)


async def heartbeat(*backends: Backend) -> None:
    """Write and count as after a heartbeat; twice, since what is written counts at the next one."""
    for backend in backends * 2:
        bus: Any = backend.bus
        bus.session_counts()  # as a scrape does
        await bus._count_and_write()
        await asyncio.sleep(0)


def counts(backend: Backend) -> tuple[int | None, int | None]:
    counted = backend.bus.session_counts()
    return counted.total, counted.served


async def test_processes_count_the_same_total_and_each_the_sessions_that_it_served(
    backend: Backend, other: Backend, clock: HandClock
) -> None:
    await backend.bus.start("n1", lambda message: None)
    await other.bus.start("n2", lambda message: None)
    await other.bus.start("n3", lambda message: None)  # a second loop of the process
    for key in KEYS:
        await backend.sessions.open(session(clock, key))
    for key, node, process in zip(
        KEYS, ("n1", "n1", "n2", "n3", "n1"), (backend, backend, other, other, backend), strict=True
    ):
        await process.sessions.enter(key, ANN, node)
    await heartbeat(backend, other)
    assert (counts(backend), counts(other)) == ((5, 3), (5, 2))
    await other.sessions.enter(KEYS[0], ANN, "n2")  # served by both now, and one of all sessions
    await backend.sessions.close(KEYS[1], None)
    await heartbeat(backend, other)
    assert (counts(backend), counts(other)) == ((4, 3), (4, 3))
    clock.advance(300)
    await other.sessions.open(session(clock, later := session_key("opened later")))
    await other.sessions.enter(later, ANN, "n2")
    await heartbeat(backend, other)
    assert (counts(backend)[1], counts(other)[1]) == (0, 1)
    clock.advance(POLICY.session_ttl)
    await heartbeat(backend, other)
    assert (counts(backend), counts(other)) == ((0, 0), (0, 0))


async def test_a_count_that_is_older_than_a_lease_or_cannot_be_read_is_unknown(
    backend: Backend, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend.bus.session_counts() == SessionCounts()
    await backend.bus.start("n1", lambda message: None)
    await backend.sessions.open(session(clock))
    await heartbeat(backend)
    assert counts(backend) == (1, 0)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + POLICY.lease + 1)
    assert backend.bus.session_counts() == SessionCounts()
    monkeypatch.undo()
    bus: Any = backend.bus
    bus._session_counts = 0.0, SessionCounts(total=7)
    await client_of(backend).execute("SET", client_of(backend).keys.facet("node", "n1"), "no index", "PX", 60_000)
    await heartbeat(backend)
    assert backend.bus.session_counts() == SessionCounts()


def statistics(admin: redis.Redis) -> dict[str, int]:
    """Return how often each command has run, those of scripts included."""
    stats: Any = admin.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


def fill(admin: redis.Redis, indexes: tuple[str, ...], score: float, number: int) -> None:
    """Add sessions to indexes."""
    for index in indexes:
        admin.zadd(index, {f"session {each}": score for each in range(number)})
        admin.pexpire(index, 60_000)


async def test_100_000_sessions_cost_what_one_costs_and_a_scrape_sends_nothing(
    backend: Backend, clock: HandClock, admin: redis.Redis
) -> None:
    clock.advance(0)  # the fixture of the administrator has emptied the server
    await backend.bus.start("n1", lambda message: None)
    await backend.sessions.open(session(clock))
    await heartbeat(backend)
    keys, costs = client_of(backend).keys, []
    for number in (1, 100_000):
        if number > 1:
            await asyncio.to_thread(fill, admin, (keys.sessions, keys.facet("node", "n1")), clock() * 1000, number)
        before = statistics(admin)
        await heartbeat(backend)
        after = statistics(admin)
        costs.append({name: after[name] - before.get(name, 0) for name in ("zcount", "evalsha")})
        before = statistics(admin)
        list(_session_metrics(backend.bus.session_counts()))
        assert {name: count for name, count in statistics(admin).items() if name != "info"} == {
            name: count for name, count in before.items() if name != "info"
        }
    assert counts(backend) == (100_001, 100_000)
    assert costs[0] == costs[1]
    assert costs[0]["zcount"] == 4  # two heartbeats, each with all sessions and those of the node


async def test_counting_shares_the_round_trip_of_what_follows_a_heartbeat(
    backend: Backend, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.bus.start("n1", lambda message: None)
    await backend.sessions.open(session(clock))
    await backend.sessions.enter(KEY, ANN, "n1")
    batcher: Any = client_of(backend).batcher
    sent, send = list[int](), batcher._send_waiting

    def count() -> None:
        sent.append(len(batcher._waiting))
        send()

    monkeypatch.setattr(batcher, "_send_waiting", count)
    bus: Any = backend.bus
    await bus._count_and_write()
    without, sent[:] = sent[0], []
    await backend.sessions.enter(KEY, ANN, "n1")
    sent[:] = []
    bus.session_counts()
    await bus._count_and_write()
    assert sent[0] == without + 2, "they are sent together with what is written, and only if metrics are read"
