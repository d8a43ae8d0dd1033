"""Sessions expire: their calls end on every node, seen or unseen, within seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.cluster.stage import LEASE, Stage, events_of, some_events, until
from tests.support.http.client import Client

TTL = 2.0
WITHIN = 4 * TTL
"""Seconds in which a session without use expires and its calls end, on a machine that has much to do."""

AGE = 6.0


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(SSE_AFTER_SECONDS=0.2, SESSION_TTL_SECONDS=TTL) as stage:
        yield stage


async def test_calls_whose_clients_are_gone_end_on_every_node(stage: Stage, caller: Client) -> None:
    tools = ("silent", "count", "count_durably")
    answers = [await caller.call(tool, {"name": f"gone-{tool}"}, port=port) for tool in tools for port in stage.ports]
    for tool in tools:
        await stage.await_pids(f"gone-{tool}", count=2)
    for answer in answers:
        answer.cut()
    for tool in tools:
        pids = await stage.await_pids(f"gone-{tool}", "cancelled", count=2, within=WITHIN)
        assert set(pids) == {node.pid for node in stage.nodes}
    assert (await caller.request("ping")).status == 404
    await stage.await_happening("expired", *stage.nodes)
    await until(lambda: not stage.journaled(caller), "no node counts them as its own", 4 * LEASE)
    assert len(stage.pids("gone-count_durably")) == 2, "nobody runs them again"


async def test_a_client_that_is_connected_keeps_its_session(stage: Stage, caller: Client) -> None:
    """One that reads a stream, says something or not, and one that waits for a JSON document."""
    async with Client(*stage.ports, headers={"Accept": "application/json"}) as plain:
        await plain.initialize()
        document = asyncio.ensure_future(plain.call("silent", {"name": "stays-json"}, within=60))
        talking = await caller.call("count", {"name": "stays", "steps": 60, "pause": TTL / 20})
        silent = await caller.call("silent", {"name": "stays-silent"}, port=stage.ports[1])
        await stage.await_pids("stays-json")
        await some_events(talking, 60)  # in three times TTL
        for name in ("stays", "stays-silent", "stays-json"):
            stage.open(name)
        assert (await talking.text()).startswith("counted")
        assert (await silent.text()).startswith("done")
        assert (await (await document).text()).startswith("done")
        assert (await caller.request("ping")).status == 200


async def test_at_the_absolute_end_clients_are_told() -> None:
    # As long a life without use, which makes nodes look each quarter of it, and not each five seconds.
    with Stage(SSE_AFTER_SECONDS=0.2, SESSION_MAX_AGE_SECONDS=AGE, SESSION_TTL_SECONDS=AGE) as stage:
        one, two = stage.ports
        async with Client(one, two) as client:
            await client.initialize()
            streams = [
                await client.call("count", {"name": "end", "steps": 10_000, "pause": 0.05}),
                await client.call("silent", {"name": "end-silent"}, port=two),
            ]
            client.headers = {"Accept": "application/json"}
            waiting = asyncio.ensure_future(client.call("silent", {"name": "end-json"}, port=two, within=60))
            ends = [(await events_of(answer, 60))[-1].message for answer in streams]
            ends.append(await (await waiting).json())
            for end in ends:
                assert end["error"]["message"].startswith("its session expired before the call ended"), end
                assert end["error"]["data"] == {"retryable": False}
            for name in ("end", "end-silent", "end-json"):
                await stage.await_pids(name, "cancelled")
