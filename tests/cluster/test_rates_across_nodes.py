"""Three nodes share rate limits: while one node's clock is wrong, while one is killed, and when Redis is emptied."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support.cluster.nodes import Site
from tests.support.http.client import Client
from tests.support.processes import start_all

COUNT, BURST = 40, 200
LEASE = 10
"""A twentieth of the burst, in requests; from this on sessions use leases, too, while buckets are half empty."""
TOLERANCE = 0.02
LIMITS = {"caller": f"{COUNT}/s burst {BURST}", "session": "10000/s", "address": "10000/s", "tool": "10000/s"}
users = (f"user-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def site(programs: None) -> Iterator[Site]:
    """Run three nodes; the clock of the second is ten seconds ahead."""
    ahead: tuple[dict[str, str], ...] = ({}, {"SITE_CLOCK_AHEAD": "10"}, {})
    with Site("uvicorn", "uvicorn", "uvicorn", mcp={"RATE_LIMITS": LIMITS}, variables=ahead) as site:
        yield site


@dataclass
class Load:
    """What was sent at the nodes for some seconds."""

    seconds: float = 0.0
    admitted: int = 0
    refused: int = 0
    others: int = 0

    def count(self, status: int, refused: bool) -> None:
        """Count an answer; in a session, one that refuses has status 200."""
        self.refused += refused
        self.admitted += status == 200 and not refused
        self.others += status not in (200, 429)

    @property
    def expected(self) -> float:
        return COUNT * self.seconds + BURST


async def send(load: Load, client: Client, port: int, in_session: bool, stop: asyncio.Event) -> None:
    """Send one request after the other, as a client that does not wait when it is refused."""
    while not stop.is_set():
        call = client.call if in_session else client.call_alone
        try:
            answer = await call("add", {"a": 1, "b": 2}, port=port)
        except (OSError, asyncio.IncompleteReadError):
            return  # the node was killed, perhaps before it could answer
        refused = "retry-after" in answer.headers
        load.count(answer.status, refused)
        await answer.close()
        client.forget()
        await asyncio.sleep(0.005 if refused else 0)


@asynccontextmanager
async def flood(site: Site, *, sessions: bool = True) -> AsyncIterator[Load]:
    """Send far more than the rate to all nodes as one caller, in sessions and outside, during the block."""
    load, stop, user = Load(), asyncio.Event(), next(users)
    clients = [site.client(user) for _ in range(6)]
    for client in clients[:3] if sessions else ():
        await client.initialize()
    began = site.store.now()
    kinds = [sessions] * 3 + [False] * 3
    tasks = [
        asyncio.create_task(send(load, client, port, kind, stop))
        for client, port, kind in zip(clients, site.ports * 2, kinds, strict=True)
    ]
    try:
        yield load
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        load.seconds = site.store.now() - began
        for client in clients:
            await client.__aexit__()


def assert_at_most(load: Load, more: float = 0.0) -> None:
    assert load.admitted <= load.expected * (1 + TOLERANCE) + 3 * LEASE + more, load
    assert load.refused > 0, load


@pytest.mark.parametrize("sessions", [False, True], ids=["sessionless", "both"])
async def test_the_rate_holds_for_all_together_whatever_a_nodes_clock_says(site: Site, sessions: bool) -> None:
    async with flood(site, sessions=sessions) as load:
        await asyncio.sleep(5)  # the rate is a number of requests in some time
    assert_at_most(load)
    assert load.admitted >= load.expected * (1 - TOLERANCE) - 3 * LEASE, load
    assert load.others == 0


async def test_a_node_that_is_killed_loses_a_lease_at_most(site: Site) -> None:
    try:
        async with flood(site, sessions=False) as load:
            await asyncio.sleep(2)
            site.nodes[2].kill()
            await asyncio.sleep(2)
        assert_at_most(load, LEASE)
    finally:
        start_all([site.nodes[2]])


async def test_an_emptied_redis_admits_one_burst_more_at_most(site: Site) -> None:
    async with flood(site) as load:
        await asyncio.sleep(2)
        site.redis.ask("FLUSHALL")
        await asyncio.sleep(2)
    assert_at_most(load, BURST)


async def test_every_bucket_expires(site: Site) -> None:
    async with flood(site):
        await asyncio.sleep(0.5)
    with site.redis.connect() as redis:
        left = {name: redis.pttl(name) for name in redis.scan_iter("mcp:rate:*")}
    assert left
    assert [name for name, milliseconds in left.items() if milliseconds == -1] == []
