"""Redis is emptied or stands still while calls run: they go on, and nobody takes a living node for dead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.cluster.stage import LEASE, SOON, Stage, assert_lost, events_of, numbers, some_events, until
from tests.support.http.client import Client


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with Stage(["daphne", "uvicorn", "daphne"], store="redis", SSE_AFTER_SECONDS=0.2) as stage:
        yield stage


async def test_after_redis_was_emptied_its_calls_still_have_an_end(stage: Stage, caller: Client) -> None:
    victim, other, *_ = stage.nodes
    lost = await caller.call("count", {"name": "emptied", "steps": 1000, "pause": 0.01})
    durable = await caller.call("count_durably", {"name": "emptied"})
    await some_events(lost, 5)
    await some_events(durable, 3)
    stage.redis.ask("FLUSHALL")
    # The next beats have noticed, and everything was written again.
    await asyncio.sleep(LEASE)
    await until(lambda: len(stage.flights(caller)) == 2, "the calls are on the books again")
    victim.kill()
    for answer in (lost, durable):
        await events_of(answer)
    resumed = [await caller.get(answer.last_event_id, other.port) for answer in (lost, durable)]
    assert_lost(await resumed[0].outcome(SOON), retryable=False)
    stage.open("emptied")
    assert (await resumed[1].text(SOON)).startswith("counted")


async def test_when_redis_was_emptied_no_living_node_is_taken_for_dead(stage: Stage, caller: Client) -> None:
    one, two, _ = stage.nodes
    await asyncio.sleep(2 * LEASE)  # all have seen each other's leases, and may judge
    answer = await caller.call("count", {"name": "living", "steps": 100, "pause": 0.01})
    [first] = await some_events(answer, 1)
    stage.redis.ask("FLUSHALL")
    await some_events(answer, 5)
    resumed = await caller.get(first.id, two.port)
    stage.open("living")
    events = await events_of(resumed)
    assert numbers(events) == list(range(2, 102))
    assert events[-1].message["result"]["content"][0]["text"] == f"counted to 100 on {one.pid}"


async def test_a_pause_of_redis_longer_than_the_lease_costs_nobody_a_call(stage: Stage, caller: Client) -> None:
    """Nobody can renew a lease, nobody can take over: all leases are over when Redis goes on, and all nodes live."""
    node, other, _ = stage.nodes
    answers = [
        await caller.call("count", {"name": "stall", "steps": 200, "pause": 0.01}, port=one)
        for one in stage.ports[:2]
    ]
    firsts = [(await some_events(answer, 1))[0] for answer in answers]
    stage.redis.ask("CLIENT", "PAUSE", round(2.5 * LEASE * 1000), "ALL")
    stage.open("stall")
    for answer, first, where, elsewhere in zip(answers, firsts, (node, other), (other, node), strict=True):
        events = await events_of(answer)
        assert numbers(events) == list(range(2, 202))
        assert events[-1].message["result"]["content"][0]["text"] == f"counted to 200 on {where.pid}"
        resumed = await caller.get(first.id, elsewhere.port)
        assert await events_of(resumed) == events
    assert not stage.pids("stall", "cancelled")
