"""Rate limits of an endpoint whose backend counts nothing, so that the process counts alone."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mcp_transport.domain.principal import Principal
from mcp_transport.domain.rate_limit import RateLimits, limits
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.protocol.http import HTTPRequest
from tests.support.calls import opened
from tests.support.client import ALL_CAPABILITIES, Answer, SessionClient, request, send, send_sessionless
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": ALL_CAPABILITIES,
    "clientInfo": {"name": "t", "version": "1"},
}


def by(kind: str, *rates: str) -> RateLimits:
    return RateLimits(**{kind: limits(kind, rates)})  # type: ignore[arg-type]


async def add(endpoint: Endpoint, **options: Any) -> Answer:
    return await send_sessionless(endpoint, "tools/call", ADD, **options)


async def statuses(endpoint: Endpoint, count: int, **options: Any) -> list[int]:
    return [(await add(endpoint, **options)).status for _ in range(count)]


async def test_without_limits_nothing_is_counted(endpoint: Endpoint) -> None:
    assert (await endpoint.pool.node()).rates is None


async def test_a_request_beyond_the_rate_gets_429_until_one_has_drained(
    build_endpoint: BuildEndpoint, clock: FakeClock
) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "20/min burst 2"))
    assert await statuses(endpoint, 2) == [200, 200]
    answer = await add(endpoint, id="third")
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert answer.json == {
        "jsonrpc": "2.0",
        "id": "third",
        "error": {
            "code": -32603,
            "message": "too many requests: the limit is 20/min burst 2 (caller)",
            "data": {"retryable": True, "limit": "RATE_LIMITS", "key": "caller", "retryAfterMs": 3000},
        },
    }
    assert endpoint.call_metrics.since_start().refused == {"RATE_LIMITS": 1}
    await clock.advance(2.9)
    assert await statuses(endpoint, 1) == [429]
    await clock.advance(0.1)
    assert await statuses(endpoint, 2) == [200, 429]


async def test_requests_in_sessions_count_with_sessionless_ones(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "2/min"))
    client = await opened(endpoint)
    assert (await client.call("add", {"a": 1, "b": 2})).status == 200
    refused = await client.call("add", {"a": 1, "b": 2}, id=9)
    assert (refused.status, refused.error_code, refused.json["id"]) == (200, -32603, 9)
    assert await statuses(endpoint, 1) == [429]
    assert (await client.request("tools/list")).status == 200, "the session is still there"


async def test_callers_do_not_share_a_rate(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "1/min"))
    assert await statuses(endpoint, 2, user="ann") == [200, 429]
    assert await statuses(endpoint, 1, user="bob") == [200]
    assert await statuses(endpoint, 2, peer="192.0.2.1") == [200, 429]
    assert await statuses(endpoint, 1, peer="192.0.2.2") == [200]
    assert await statuses(endpoint, 1, peer="2001:db8::1") == [200]
    assert await statuses(endpoint, 1, peer="2001:db8::2") == [429], "a /64 network is one caller"


async def test_an_address_is_limited_whoever_calls_from_it(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("address", "1/min"))
    assert await statuses(endpoint, 1, user="ann") == [200]
    answer = await add(endpoint, user="bob")
    assert (answer.status, answer.json["error"]["data"]["key"]) == (429, "address")


async def test_each_session_has_a_rate_of_its_own(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("session", "2/min"))
    one, other = await opened(endpoint), await opened(endpoint)
    assert (await one.call("add", {"a": 1, "b": 2})).status == 200
    refused = await one.call("add", {"a": 1, "b": 2})
    assert (refused.status, refused.json["error"]["data"]["key"]) == (200, "session")
    assert (await other.call("add", {"a": 1, "b": 2})).status == 200
    assert await statuses(endpoint, 5) == [200] * 5, "sessionless requests belong to none"


async def test_all_of_several_rates_hold_and_the_one_that_takes_longest_is_named(
    build_endpoint: BuildEndpoint, clock: FakeClock
) -> None:
    endpoint = build_endpoint(rate_limits=RateLimits(caller=limits("caller", ["2/s", "3/min"])))
    assert await statuses(endpoint, 3) == [200, 200, 429]
    await clock.advance(1)
    assert await statuses(endpoint, 1) == [200]
    answer = await add(endpoint)
    assert "3/min" in answer.json["error"]["message"]


async def test_a_refused_request_costs_nothing_in_any_bucket(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(
        rate_limits=RateLimits(caller=limits("caller", "1/min"), address=limits("address", "2/min"))
    )
    assert await statuses(endpoint, 3, user="ann") == [200, 429, 429]
    assert await statuses(endpoint, 2, user="bob") == [200, 429]


async def test_tools_have_rates_for_each_caller_and_some_have_their_own(build_endpoint: BuildEndpoint) -> None:
    own = limits("tool", "1/min", setting="rate_limit")
    endpoint = build_endpoint(rate_limits=RateLimits(tool=limits("tool", "2/min"), tools={"add": own}))
    assert await statuses(endpoint, 2, user="ann") == [200, 429]
    assert await statuses(endpoint, 1, user="bob") == [200]
    data = (await add(endpoint, user="ann")).json["error"]["data"]
    assert (data["limit"], data["key"]) == ("rate_limit", "tool")
    for expected in (200, 200, 429):
        answer = await send_sessionless(endpoint, "tools/call", {"name": "greet", "arguments": {}}, user="ann")
        assert answer.status == expected or "Unknown tool" in str(answer.json)


async def test_names_that_no_tool_has_make_no_buckets(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("tool", "1/min"))
    for number in range(5):
        answer = await send_sessionless(endpoint, "tools/call", {"name": f"none-{number}", "arguments": {}})
        assert answer.status == 200
    node = await endpoint.pool.node()
    assert node.rates is not None
    assert len(node.rates.buckets) == 0


async def test_a_function_of_the_project_says_whom_a_request_counts_for(build_endpoint: BuildEndpoint) -> None:
    def tenant(principal: Principal, request: HTTPRequest) -> str | None:
        return request.headers.get("x-tenant")

    counted = RateLimits(functions=((tenant, limits("tenant", "1/min", name="shop.limits.tenant")),))
    endpoint = build_endpoint(rate_limits=counted)
    a, b = ({"x-tenant": name} for name in ("a", "b" * 5000))
    assert await statuses(endpoint, 2, headers=a) == [200, 429]
    assert await statuses(endpoint, 2, headers=b) == [200, 429]
    assert await statuses(endpoint, 3) == [200] * 3, "None is not limited"
    data = (await add(endpoint, headers=a)).json["error"]["data"]
    assert data["key"] == "tenant"


@pytest.mark.parametrize("returned", [5, b"x", RuntimeError("secret")])
async def test_a_function_that_fails_is_answered_with_500_and_logged_once(
    build_endpoint: BuildEndpoint, caplog: pytest.LogCaptureFixture, returned: Any
) -> None:
    def broken(principal: Principal, request: HTTPRequest) -> Any:
        if isinstance(returned, Exception):
            raise returned
        return returned

    endpoint = build_endpoint(rate_limits=RateLimits(functions=((broken, limits("broken", "1/min", name="a.b")),)))
    answer = await add(endpoint)
    assert (answer.status, answer.json["error"]["message"]) == (500, "Internal server error")
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert [text.partition(":")[0] for text in errors] == ["POST failed"]


async def test_a_batch_is_charged_and_refused_as_a_whole(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "5/min"))
    client = await opened(endpoint, version="2025-03-26")
    calls = [request("tools/call", ADD, id=number) for number in range(3)]
    assert (await client.post(calls)).status == 200
    assert [item["error"]["data"]["limit"] for item in (await client.post(calls)).json] == ["RATE_LIMITS"] * len(
        calls
    )
    assert (await client.post(calls[:1])).status == 200


async def test_a_batch_that_no_burst_has_room_for_is_an_error_of_the_client(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "100/min burst 2"))
    client = await opened(endpoint, version="2025-03-26")
    answer = await client.post([request("tools/call", ADD, id=number) for number in range(3)])
    assert answer.status == 400
    assert "at most 2 requests fit into a batch" in answer.json["error"]["message"]


async def test_clients_that_reconnect_in_a_loop_are_not_locked_out(build_endpoint: BuildEndpoint) -> None:
    """Once a second, each with what the SDK's clients send, and with all calls used up before."""
    endpoint = build_endpoint(rate_limits=by("caller", "60/min"))
    assert 429 in await statuses(endpoint, 61)
    for _ in range(10):
        client = SessionClient(endpoint)
        await client.open()
        for method in ("tools/list", "resources/list", "prompts/list", "ping"):
            assert (await client.request(method)).status == 200


async def test_a_flood_of_lists_is_bounded_all_the_same(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "10/min"))
    answers = [(await send_sessionless(endpoint, "tools/list")).status for _ in range(300)]
    assert answers.count(200) == 20 * (10 + 1)
    assert (await send(endpoint, body=request("initialize", INITIALIZE))).status == 429


async def test_a_caller_without_calls_left_can_still_reply_and_cancel(
    build_endpoint: BuildEndpoint, gate: Gate
) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "2/min"))
    client = await opened(endpoint)
    answer = await client.call("ask")
    question = await answer.message()
    assert (await client.call("add", {"a": 1, "b": 2})).error_code == -32603
    assert (await client.notify("notifications/cancelled", {"requestId": "x"})).status == 202
    reply = {"action": "accept", "content": {"name": "x"}}
    assert (await client.reply(question["id"], reply)).status == 202
    assert await answer.text() == "accept x"


async def test_gets_are_counted_apart_and_deletes_not_at_all(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "2/min"))
    client = await opened(endpoint)
    assert await statuses(endpoint, 2) == [200, 429]
    streams = [await client.get() for _ in range(60)]
    assert [stream.status for stream in streams] == [200] * 60
    refused = await client.get()
    assert (refused.status, refused.json["error"]["data"]["key"]) == (429, "caller")
    for stream in streams:
        stream.close()
    assert (await client.delete()).status == 204


async def test_what_fails_earlier_is_not_counted(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(rate_limits=by("caller", "1/min"))
    for _ in range(5):
        assert (await send(endpoint, raw=b"{")).status == 400
        assert (await send(endpoint, body=request("ping"), headers={"host": "evil.example"})).status == 400
    assert await statuses(endpoint, 1) == [200]
