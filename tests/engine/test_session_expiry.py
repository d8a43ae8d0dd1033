"""A session's time is up: nothing of it runs on; and it is not up while its client is there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.domain.policy import Policy
from tests.support.client import SessionClient, silent
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate

TTL = 20.0
LOOK = 5.0
"""Seconds after which every node has looked at its sessions."""
ALL_JSON = {"accept": "application/json"}


@pytest.fixture
async def client(build_endpoint: Any) -> SessionClient:
    client = SessionClient(build_endpoint(session_ttl=TTL, session_max_age=10 * TTL))
    await client.open()
    return client


def expired(client: SessionClient) -> int:
    """Return how often its node has ended calls of a session that had expired."""
    return client.endpoint.observer.counts["expired"]


async def pass_time(clock: FakeClock, seconds: float, step: float = LOOK) -> None:
    for _ in range(round(seconds / step)):
        await clock.advance(step)


@pytest.mark.parametrize("began", [True, False], ids=["on a stream", "before the answer began"])
async def test_calls_end_whose_client_has_left(
    client: SessionClient, clock: FakeClock, gate: Gate, began: bool
) -> None:
    call = asyncio.ensure_future(client.call("blocked", headers={} if began else ALL_JSON))
    await gate.wait(gate.entered)
    if began:
        await clock.advance(1.0)
        (await call).close()
    else:
        call.cancel()
    await pass_time(clock, TTL - LOOK)
    assert not gate.left.is_set()
    await pass_time(clock, 2 * LOOK)
    await gate.wait(gate.left)
    assert gate.cancelled
    assert expired(client) == 1
    assert (await client.request("ping")).status == 404
    assert await left_behind(client.endpoint) == {}


async def test_a_call_that_goes_on_talking_to_nobody_ends_as_well(
    client: SessionClient, clock: FakeClock, gate: Gate
) -> None:
    gate.orders.put_nowait(True)
    answer = await client.call("obey")
    assert await answer.message()
    answer.close()
    for _ in range(round((TTL + LOOK) / 2)):
        gate.orders.put_nowait(True)
        await clock.advance(2.0)
    node = await client.endpoint.pool.node()
    await settle()
    assert not node.registry.running
    assert expired(client) == 1


@pytest.mark.parametrize("talks", [True, False])
async def test_a_client_that_is_connected_puts_the_end_off(
    client: SessionClient, clock: FakeClock, gate: Gate, talks: bool
) -> None:
    gate.orders.put_nowait(True)
    answer = await client.call("obey")
    reading = asyncio.ensure_future(answer.messages())
    for _ in range(round(4 * TTL / LOOK)):
        if talks:  # then no keep-alive is due
            gate.orders.put_nowait(True)
        await clock.advance(LOOK)
    gate.orders.put_nowait(False)
    assert "result" in (await reading)[-1]
    assert (await client.request("ping")).status == 200
    assert expired(client) == 0


async def test_so_does_one_that_waits_for_a_json_document(
    client: SessionClient, clock: FakeClock, gate: Gate
) -> None:
    call = asyncio.ensure_future(client.call("blocked", headers=ALL_JSON))
    await gate.wait(gate.entered)
    await pass_time(clock, 4 * TTL)
    gate.open.set()
    assert (await call).json["result"]["content"][0]["text"] == "through"


async def test_so_does_a_get_stream_with_less_time_than_a_keepalive(
    build_endpoint: BuildEndpoint, clock: FakeClock
) -> None:
    client = SessionClient(build_endpoint(session_ttl=4.0, keepalive=15.0))
    await client.open()
    stream = await client.get()
    reading = asyncio.ensure_future(stream.message())
    await pass_time(clock, 40, step=1.0)
    await client.call("whisper", {"text": "still there"})
    assert (await reading)["params"]["data"] == "still there"


async def test_so_does_one_that_is_connected_to_another_node(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    store = MemoryBackend(Policy(session_ttl=TTL), clock.now)
    here, there = (build_endpoint(store, session_ttl=TTL) for _ in range(2))
    client = SessionClient(here)
    await client.open()
    answer = await silent(clock, gate.entered, client.call("blocked"))
    answer.close()
    stream = await client.get(endpoint=there)
    reading = asyncio.ensure_future(stream.messages())
    await pass_time(clock, 4 * TTL)
    assert not gate.left.is_set()
    stream.close()
    await pass_time(clock, TTL + LOOK)
    await gate.wait(gate.left)
    assert gate.cancelled
    reading.cancel()


@pytest.mark.parametrize("talks", [True, False])
async def test_at_the_absolute_end_a_connected_client_is_told(
    client: SessionClient, clock: FakeClock, gate: Gate, talks: bool
) -> None:
    gate.orders.put_nowait(True)
    answer = await client.call("obey", id=7)
    reading = asyncio.ensure_future(answer.messages())
    for _ in range(round((10 * TTL + LOOK) / LOOK)):
        if talks:
            gate.orders.put_nowait(True)
        await clock.advance(LOOK)
    async with asyncio.timeout(60):
        last = (await reading)[-1]
    assert last["id"] == 7
    assert last["error"]["code"] == -32603
    assert last["error"]["message"].startswith("its session expired before the call ended")
    assert last["error"]["data"] == {"retryable": False}
    assert expired(client) == 1
    assert await left_behind(client.endpoint) == {}


async def test_at_the_absolute_end_those_who_wait_for_json_or_on_a_get_stream_come_to_an_end(
    client: SessionClient, clock: FakeClock, gate: Gate
) -> None:
    stream = asyncio.ensure_future((await client.get()).messages())
    call = asyncio.ensure_future(client.call("blocked", headers=ALL_JSON))
    await gate.wait(gate.entered)
    await pass_time(clock, 10 * TTL + LOOK)
    answer = await call
    assert answer.status == 200
    assert answer.json["error"]["message"].startswith("its session expired")
    assert gate.cancelled
    assert await stream == []
    assert await left_behind(client.endpoint) == {}


async def test_other_sessions_are_left_alone(client: SessionClient, clock: FakeClock, gate: Gate) -> None:
    other = SessionClient(client.endpoint)
    await other.open()
    answer = await silent(clock, gate.entered, client.call("blocked"))
    answer.close()
    await pass_time(clock, TTL - LOOK)
    assert (await other.request("ping")).status == 200
    await pass_time(clock, 2 * LOOK)
    assert (await other.request("ping")).status == 200


async def test_nothing_ends_while_the_store_is_away_and_all_that_is_due_when_it_is_back(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    policy = Policy(session_ttl=TTL)
    store = FlakyBackend(policy, clock.now)
    client = SessionClient(build_endpoint(store, session_ttl=TTL))
    await client.open()
    answer = await silent(clock, gate.entered, client.call("blocked"))
    answer.close()
    await settle()
    store.away.add("*")
    await pass_time(clock, 2 * TTL)
    assert not gate.left.is_set()
    store.away.clear()
    await pass_time(clock, LOOK)
    await gate.wait(gate.left)
    assert gate.cancelled


async def test_a_session_that_is_ended_is_no_expired_one(client: SessionClient, clock: FakeClock, gate: Gate) -> None:
    answer = await silent(clock, gate.entered, client.call("blocked"))
    assert (await client.delete()).status == 204
    [message] = await answer.messages()
    assert message["error"]["message"].startswith("its session was ended")
    assert expired(client) == 0
