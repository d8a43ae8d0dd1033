"""Whether a call is answered with one JSON document or with a stream of events, in both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, SessionClient, send_sessionless, silent, text_of
from tests.support.clock import FakeClock
from tests.support.stores import left_behind
from tests.support.tools import Gate

Call = Callable[..., Awaitable[Answer]]
ONLY_JSON = {"accept": "application/json"}


@pytest.fixture(params=["2025-11-25", "2026-07-28"])
async def call(request: pytest.FixtureRequest, endpoint: Endpoint, client: SessionClient) -> Call:
    """Call a tool as a client of the revision does, asking for progress."""
    if request.param == "2025-11-25":
        return client.call

    async def alone(tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> Answer:
        params = {"name": tool, "arguments": arguments or {}}
        return await send_sessionless(endpoint, "tools/call", params, meta={"progressToken": "p"}, **options)

    return alone


async def test_a_quick_silent_call_is_answered_with_json_and_leaves_nothing(call: Call, endpoint: Endpoint) -> None:
    answer = await call("add", {"a": 1, "b": 2}, id="seven")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.json["id"], text_of(answer.json)) == ("seven", "3")
    assert "mcp-session-id" not in answer.headers, "only initialize names one"
    assert set(await left_behind(endpoint)) == {"sessions"}


async def test_a_silent_call_becomes_a_stream_exactly_at_the_deadline(
    call: Call, clock: FakeClock, gate: Gate
) -> None:
    task = asyncio.ensure_future(call("blocked"))
    await gate.wait(gate.entered)
    await clock.advance(0.999)
    assert not task.done()
    await clock.advance(0.001)
    answer = await task
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["x-accel-buffering"] == "no"
    gate.open.set()
    assert await answer.text() == "through"


async def test_a_call_that_ends_just_before_the_deadline_is_answered_with_json(
    call: Call, clock: FakeClock, gate: Gate
) -> None:
    task = asyncio.ensure_future(call("blocked"))
    await gate.wait(gate.entered)
    await clock.advance(0.999)
    gate.open.set()
    assert text_of((await task).json) == "through"


async def test_the_first_notification_begins_the_stream_without_the_clock(call: Call, gate: Gate) -> None:
    answer = await call("count", {"steps": 1})
    assert (await answer.message())["params"] == {"progressToken": "p", "progress": 1, "total": 1}
    gate.open.set()
    assert await answer.text() == "counted"


async def test_the_first_notification_leaves_before_a_handler_that_never_waits_goes_on(
    call: Call, gate: Gate
) -> None:
    answer = await call("count", {"steps": 10})
    assert (await answer.message())["params"]["progress"] == 1
    assert gate.written == 0
    gate.open.set()
    assert len(await answer.messages()) == 11


async def test_a_client_that_takes_only_json_gets_json_however_long_it_takes(
    call: Call, clock: FakeClock, gate: Gate
) -> None:
    task = asyncio.ensure_future(call("count", {"steps": 3}, headers=ONLY_JSON))
    await gate.wait(gate.entered)
    await clock.advance(100)
    assert not task.done()
    gate.open.set()
    assert text_of((await task).json) == "counted"


async def test_a_client_that_takes_only_streams_gets_one_event(client: SessionClient) -> None:
    answer = await client.call("add", {"a": 1, "b": 2}, headers={"accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text_of(json.loads(answer.body.partition(b"data: ")[2])) == "3"


async def test_progress_is_only_told_to_those_who_gave_a_token(endpoint: Endpoint, gate: Gate) -> None:
    gate.open.set()
    answer = await send_sessionless(endpoint, "tools/call", {"name": "count", "arguments": {"steps": 2}})
    assert text_of(answer.json) == "counted"


@pytest.mark.parametrize("chosen", [None, "debug", "info", "warning"])
async def test_the_log_level_of_a_session_filters_messages(client: SessionClient, chosen: str | None) -> None:
    if chosen:
        assert (await client.request("logging/setLevel", {"level": chosen})).json["result"] == {}
    answer = await client.call("talk", {"level": "info"})
    await assert_talked(answer, told=chosen != "warning")


@pytest.mark.parametrize("asked", [None, "error", "info", "debug"])
async def test_2026_07_28_opts_in_to_log_messages_by_level(endpoint: Endpoint, asked: str | None) -> None:
    meta = {"io.modelcontextprotocol/logLevel": asked} if asked else {}
    params = {"name": "talk", "arguments": {"level": "info"}}
    answer = await send_sessionless(endpoint, "tools/call", params, meta=meta)
    await assert_talked(answer, told=asked in ("info", "debug"))


async def assert_talked(answer: Answer, *, told: bool) -> None:
    if not told:
        assert text_of(answer.json) == "talked"
        return
    message, result = await answer.messages()
    assert (message["method"], message["params"]["data"]) == ("notifications/message", "a word")
    assert text_of(result) == "talked"


async def test_an_error_after_the_stream_began_is_told_in_it(
    endpoint: Endpoint, call: Call, clock: FakeClock, gate: Gate
) -> None:
    answer = await silent(clock, gate.entered, call("blocked"))
    await endpoint.pool.stop()
    assert answer.status == 200
    messages = await answer.messages()
    assert messages and all("error" in message for message in messages)
