"""Admission: what runs, what waits, what is refused and how, and what a timeout does; both eras."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import CallLimits
from tests.support.calls import opened
from tests.support.client import Answer, request, send_sessionless, silent, text_of, until
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import left_behind
from tests.support.tools import Gate, build_tools

Send = Callable[..., Awaitable[Answer]]
BLOCKED = {"name": "blocked", "arguments": {}}
ONE = {"max_concurrent_calls": 1, "max_queued_calls": 2, "max_queued_calls_per_caller": 1, "queue_timeout": 10.0}


class LimitedTool(Tool):
    limits: CallLimits = CallLimits()


def running(endpoint: Endpoint) -> int:
    [node] = endpoint.pool.nodes
    return node.admission.calls.running


def waiting(endpoint: Endpoint) -> int:
    [node] = endpoint.pool.nodes
    return node.admission.calls.waiting


def limited(gate: Gate, **limits: Any) -> MCPServer[Any]:
    """Return the tools, of which `blocked` has limits of its own."""
    server = build_tools(gate)
    tool: Any = server._tool_manager._tools["blocked"]
    server._tool_manager._tools["blocked"] = LimitedTool(**{**dict(tool), "limits": CallLimits(**limits)})
    return server


@pytest.fixture(params=["session", "sessionless"])
def era(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def sender(era: str, endpoint: Endpoint, user: str | None = None) -> Send:
    """Return a function that sends a request of an era, with a method and its parameters."""
    if era == "session":
        client = await opened(endpoint, user)
        return client.request

    async def send(method: str, params: dict[str, Any] | None = None, **options: Any) -> Answer:
        return await send_sessionless(endpoint, method, params, user=user, **options)

    return send


def assert_refused(answer: Answer, status: int, limit: str, key: str, seconds: float, *, era: str) -> None:
    """In a session the status is 200: another one ends the session of some clients."""
    error, status = answer.json["error"], 200 if era == "session" else status
    assert (answer.status, error["code"], answer.json["id"]) == (status, -32603, 7)
    assert answer.headers["retry-after"] == str(max(1, round(seconds)))
    assert error["data"] == {"retryable": True, "limit": limit, "key": key, "retryAfterMs": seconds * 1000}
    assert limit in error["message"]


async def test_what_does_not_fit_waits_and_beyond_the_queue_is_refused_at_once(
    era: str, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(**ONE)
    ann, ben, cem = [await sender(era, endpoint, name) for name in ("ann", "ben", "cem")]
    first = await silent(clock, gate.entered, ann("tools/call", BLOCKED))
    rest = [asyncio.ensure_future(send("tools/call", BLOCKED)) for send in (ann, ben)]
    await until(lambda: waiting(endpoint) == 2)
    assert_refused(await ann("tools/call", BLOCKED, id=7), 429, "MAX_CONCURRENT_CALLS", "caller", 5, era=era)
    assert_refused(await cem("tools/call", BLOCKED, id=7), 503, "MAX_CONCURRENT_CALLS", "server", 5, era=era)
    assert gate.runs == 1
    listed = "tools/list" if era == "sessionless" else "ping"
    assert (await cem(listed)).status == 200, "lists and pings are not limited"
    gate.open.set()
    assert await first.text() == "through"
    assert [text_of((await answer).json) for answer in rest] == ["through"] * 2
    assert (running(endpoint), waiting(endpoint)) == (0, 0)
    assert endpoint.call_metrics.since_start().waits.calls == 2
    assert endpoint.call_metrics.since_start().refused == {"MAX_CONCURRENT_CALLS": 2}
    assert set(await left_behind(endpoint)) <= {"sessions"}


async def test_a_caller_may_run_no_more_than_its_share(
    era: str, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_concurrent_calls_per_caller=1, max_queued_calls_per_caller=0)
    ann, ben = [await sender(era, endpoint, name) for name in ("ann", "ben")]
    first = await silent(clock, gate.entered, ann("tools/call", BLOCKED))
    assert_refused(await ann("tools/call", BLOCKED, id=7), 429, "MAX_CONCURRENT_CALLS", "caller", 5, era=era)
    second = asyncio.ensure_future(ben("tools/call", BLOCKED))
    await until(lambda: gate.runs == 2)
    gate.open.set()
    assert [await first.text(), text_of((await second).json)] == ["through"] * 2


async def test_a_call_that_waits_too_long_is_refused_on_its_stream(
    era: str, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(**ONE)
    send = await sender(era, endpoint)
    first = await silent(clock, gate.entered, send("tools/call", BLOCKED))
    second = asyncio.ensure_future(send("tools/call", BLOCKED, id=7))
    await until(lambda: waiting(endpoint) == 1)
    await clock.advance(1.0)
    stream = await second
    assert stream.headers["content-type"].startswith("text/event-stream")
    await clock.advance(10.0)
    [message] = await stream.messages()
    assert message["error"]["data"]["limit"] == "MAX_CONCURRENT_CALLS"
    assert "has waited for 10 s" in message["error"]["message"]
    gate.open.set()
    assert await first.text() == "through"


async def test_a_short_wait_is_refused_by_status(
    era: str, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(**{**ONE, "queue_timeout": 0.5})
    ann, ben = [await sender(era, endpoint, name) for name in ("ann", "ben")]
    first = await silent(clock, gate.entered, ann("tools/call", BLOCKED))
    second = asyncio.ensure_future(ben("tools/call", BLOCKED, id=7))
    await until(lambda: waiting(endpoint) == 1)
    await clock.advance(0.6)
    assert_refused(await second, 503, "MAX_CONCURRENT_CALLS", "server", 0.25, era=era)
    gate.open.set()
    assert await first.text() == "through"


async def test_a_tool_has_a_limit_of_its_own(
    era: str, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(server=limited(gate, max_concurrency=1), max_queued_calls=0)
    ann, ben = [await sender(era, endpoint, name) for name in ("ann", "ben")]
    first = await silent(clock, gate.entered, ann("tools/call", BLOCKED))
    assert_refused(await ben("tools/call", BLOCKED, id=7), 503, "max_concurrency", "tool", 5, era=era)
    assert (await ben("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})).status == 200
    gate.open.set()
    assert await first.text() == "through"


async def test_a_call_that_waits_can_be_cancelled(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(**ONE)
    client = await opened(endpoint)
    first = await silent(clock, gate.entered, client.call("blocked"))
    second = asyncio.ensure_future(client.call("blocked", id=7))
    await until(lambda: waiting(endpoint) == 1)
    await client.notify("notifications/cancelled", {"requestId": 7})
    assert await (await second).messages() == []
    assert (gate.runs, waiting(endpoint)) == (1, 0)
    gate.open.set()
    assert await first.text() == "through"


async def test_a_call_that_waits_leaves_with_its_client(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(**ONE)
    first = await silent(clock, gate.entered, send_sessionless(endpoint, "tools/call", BLOCKED))
    second = asyncio.ensure_future(send_sessionless(endpoint, "tools/call", BLOCKED))
    await until(lambda: waiting(endpoint) == 1)
    second.cancel()
    await settle()
    assert (gate.runs, waiting(endpoint)) == (1, 0)
    gate.open.set()
    assert await first.text() == "through"


async def test_a_call_that_waits_when_the_server_stops_is_safe_to_send_again(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(**ONE)
    client = await opened(endpoint)
    first = await silent(clock, gate.entered, client.call("blocked"))
    second = asyncio.ensure_future(client.call("blocked"))
    await until(lambda: waiting(endpoint) == 1)
    await clock.advance(1.0)
    stopped = asyncio.ensure_future(endpoint.pool.stop())
    [ran], [waited] = await first.messages(), await (await second).messages()
    await stopped
    assert [item["error"]["data"]["retryable"] for item in (ran, waited)] == [False, True]


async def test_each_request_of_a_batch_is_refused(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_concurrent_calls=1, max_queued_calls=0)
    client = await opened(endpoint, version="2025-03-26")
    first = await silent(clock, gate.entered, client.call("blocked"))
    batch = await client.post([request("tools/call", BLOCKED, id="a"), request("ping", id="b")])
    assert batch.status == 200
    assert [(item["id"], item["error"]["data"]["limit"]) for item in batch.json] == [
        ("a", "MAX_CONCURRENT_CALLS"),
        ("b", "MAX_CONCURRENT_CALLS"),
    ]
    gate.open.set()
    assert await first.text() == "through"


# -- timeouts and sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"timeout": 5.0}, {}], ids=["of the tool", "of the server"])
async def test_a_call_that_overruns_is_answered_with_an_error(
    era: str, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate, limits: dict[str, Any]
) -> None:
    endpoint = build_endpoint(server=limited(gate, **limits), tool_timeout=100.0 if limits else 5.0)
    send = await sender(era, endpoint)
    answer = await silent(clock, gate.entered, send("tools/call", BLOCKED))
    await clock.advance(3.9)
    assert endpoint.observer.counts["timed_out"] == 0
    await clock.advance(0.2)
    [message] = await answer.messages()
    assert message["result"]["isError"]
    assert message["result"]["content"][0]["text"] == (
        "Error executing tool blocked: it did not end within 5 s; it may have taken effect: check before you retry"
    )
    assert gate.cancelled
    assert endpoint.observer.counts["timed_out"] == 1
    assert running(endpoint) == 0


@pytest.mark.parametrize("ticks", range(1, 16))
async def test_a_call_overruns_though_its_client_has_left_at_once(
    build_endpoint: BuildEndpoint, clock: FakeClock, ticks: int
) -> None:
    endpoint = build_endpoint(tool_timeout=5.0)
    client = await opened(endpoint)
    post = asyncio.ensure_future(client.call("blocked"))
    for _ in range(ticks):
        await asyncio.sleep(0)
    post.cancel()
    await settle()
    await clock.advance(5.1)
    assert endpoint.pool.gauges().calls == 0


async def test_a_tool_without_a_timeout_of_its_own_takes_none_where_the_setting_is_none(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(tool_timeout=None)
    client = await opened(endpoint)
    answer = await silent(clock, gate.entered, client.call("blocked"))
    await clock.advance(3000.0)
    gate.open.set()
    assert await answer.text() == "through"


async def test_the_time_in_which_a_tool_waits_for_its_client_does_not_count(
    build_endpoint: BuildEndpoint, clock: FakeClock
) -> None:
    endpoint = build_endpoint(tool_timeout=5.0)
    client = await opened(endpoint)
    answer = await client.call("ask")
    question = await answer.message()
    for _ in range(8):
        await clock.advance(5.0)
    await client.reply(question["id"], {"action": "accept", "content": {"name": "Ann"}})
    [result] = await answer.messages()
    assert not result["result"].get("isError"), result


async def test_a_tool_has_a_result_limit_of_its_own(era: str, build_endpoint: BuildEndpoint, gate: Gate) -> None:
    endpoint = build_endpoint(server=limited(gate, max_result_bytes=5))
    gate.open.set()
    send = await sender(era, endpoint)
    result = (await send("tools/call", BLOCKED)).json["result"]
    assert result["isError"]
    assert "at most 5 can be sent" in result["content"][0]["text"]
