"""Clients, and stores, slower than a handler: everything arrives once and in order, and nobody is held up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, send_sessionless, text_of, until
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate


async def told(answer: Answer) -> list[Any]:
    """Read to the end; return the progress and the text that a call has told."""
    async with asyncio.timeout(60):
        messages = await answer.messages()
    return [item["params"]["progress"] if "method" in item else text_of(item) for item in messages]


# -- in sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("already_read", [0, 1, 2, 5])
async def test_a_slow_client_gets_everything_and_does_not_hold_up_the_handler(
    build_endpoint: BuildEndpoint, gate: Gate, already_read: int
) -> None:
    client = await opened(build_endpoint(stream_queue=8))
    answer = await client.call("count", {"steps": 300})
    for _ in range(already_read):
        await answer.frame()
    gate.open.set()
    await until(gate.left.is_set)
    assert gate.written == 300
    await settle()
    assert await told(answer) == [*range(max(1, already_read), 302), "counted"]


async def test_a_slow_get_client_gets_everything_once_and_in_order(build_endpoint: BuildEndpoint) -> None:
    client = await opened(build_endpoint(stream_queue=4))
    answer = await client.get()
    for number in range(50):
        await client.call("whisper", {"text": str(number)})
        if number % 7 == 0:
            await answer.frame()  # eight of them, the opening first
    texts = [(await answer.message())["params"]["data"] for _ in range(43)]
    assert texts == [str(number) for number in range(7, 50)]


@pytest.mark.parametrize("reads_at", ["the beginning", "the end"])
async def test_a_log_that_is_behind_makes_the_client_wait_and_skips_nothing(
    build_endpoint: BuildEndpoint, store: FlakyBackend, gate: Gate, reads_at: str
) -> None:
    client = await opened(build_endpoint(store, stream_queue=4))
    store.hold("append")
    answer = await client.call("burst", {"steps": 10, "pause": reads_at == "the beginning"})
    reading = asyncio.ensure_future(told(answer)) if reads_at == "the beginning" else None
    await gate.wait(gate.entered)
    gate.open.set()
    await until(lambda: gate.written == 10)
    await settle()
    gate.open.set()
    await settle()
    reading = reading or asyncio.ensure_future(told(answer))
    await settle()
    store.held["append"].set()
    assert await reading == [*range(11), "burst"]


async def test_an_event_that_is_not_in_the_log_yet_can_be_resumed_from(
    here: SessionClient, store: FlakyBackend, gate: Gate
) -> None:
    store.hold("append")
    answer = await here.call("count", {"steps": 2})
    frames = [await answer.event() for _ in range(3)]
    answer.close()
    await settle()
    resumed = await here.get(frames[-1].id)
    store.held["append"].set()
    gate.open.set()
    assert resumed.status == 200, resumed.body
    assert await told(resumed) == [3, "counted"]


async def test_a_stream_taken_over_before_the_log_knows_its_first_holder_goes_to_the_new_one(
    here: SessionClient, store: FlakyBackend, gate: Gate
) -> None:
    store.hold("append")
    first = await here.call("count", {"steps": 2}, id=1)
    await first.frame()
    again = await here.call("count", {"steps": 2}, id=1)
    store.held["append"].set()
    gate.open.set()
    assert await told(again) == [1, 2, 3, "counted"]
    assert gate.runs == 1
    assert "counted" not in await told(first)


async def test_a_slow_client_of_a_stream_that_is_forgotten_comes_to_an_end(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    client = await opened(build_endpoint(stream_queue=4, stream_keep=60))
    answer = await client.call("burst", {"steps": 30})
    await answer.frame()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    await clock.advance(100)
    await client.request("ping")
    assert len(await told(answer)) < 31


# -- in 2026-07-28, which keeps no log ----------------------------------------------------------------


async def count(endpoint: Endpoint) -> Answer:
    params = {"name": "count", "arguments": {"steps": 200}}
    return await send_sessionless(endpoint, "tools/call", params, meta={"progressToken": 1})


async def test_a_slow_reader_makes_the_handler_wait(endpoint: Endpoint, gate: Gate) -> None:
    gate.open.set()
    answer = await count(endpoint)
    await settle()
    held_at = gate.written
    assert held_at < 40
    await settle()
    assert gate.written == held_at
    assert await told(answer) == [*range(1, 202), "counted"]


async def test_leaving_frees_a_handler_that_waits_for_a_slow_reader(endpoint: Endpoint, gate: Gate) -> None:
    answer = await count(endpoint)
    await settle()
    assert not gate.entered.is_set()
    answer.close()
    assert await left_behind(endpoint) == {}
    assert gate.written < 40
