"""Rate limits take no round trip that an answer waits for; see `test_round_trips`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport.domain.rate_limit import RateLimits, limits
from mcp_transport.engine.endpoint import Endpoint
from tests.backends.redis.meter import Meter
from tests.backends.redis.metered import POLICY, Table, client, clock, meter, table, there
from tests.backends.redis.scene import two_endpoints
from tests.support.client import Answer, SessionClient, send_sessionless
from tests.support.clock import FakeClock
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

__all__ = ["client", "clock", "meter", "table", "there"]

pytestmark = pytest.mark.servers

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
LIMITS = RateLimits(
    **{kind: limits(kind, ["600/min", "100/s"]) for kind in ("caller", "session", "address", "tool")}  # type: ignore[arg-type]
)
TIGHT = "1/h burst 2"


@pytest.fixture
def rate_limits() -> RateLimits:
    return LIMITS


@pytest.fixture
async def nodes(
    server: RedisServer, clock: FakeClock, gate: Gate, rate_limits: RateLimits
) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    async with two_endpoints(server, gate, POLICY, clock=clock, rate_limits=rate_limits) as made:
        yield made


async def sessionless(endpoint: Endpoint) -> Answer:
    return await send_sessionless(endpoint, "tools/call", ADD)


async def test_a_call_in_a_session_sends_what_it_sends_without_limits(
    client: SessionClient, meter: Meter, table: Table
) -> None:
    answer, cost = await meter.of(client.call("add", {"a": 1, "b": 2}))
    assert answer.status == 200
    assert cost.blocking == [("ENTER",)]
    table.row("tools/call, answered with JSON", cost, 1, 1)


async def test_sessionless_requests_wait_for_nothing(
    nodes: tuple[Endpoint, Endpoint], meter: Meter, table: Table
) -> None:
    answer, cost = await meter.of(sessionless(nodes[0]))
    assert answer.status == 200
    table.row("sessionless POST", cost, 0, 0)


async def test_all_buckets_of_many_requests_are_settled_in_one_command(
    nodes: tuple[Endpoint, Endpoint], meter: Meter, table: Table
) -> None:
    node = await nodes[0].pool.node()
    assert node.rates is not None
    for _ in range(2):
        await sessionless(nodes[0])
    before = len(meter.trips)
    await node.rates.flush()
    cost = await meter.rest(before)
    assert cost.words["SETTLE"] == 1


@pytest.mark.parametrize("rate_limits", [RateLimits(caller=limits("caller", "200/h"))])
async def test_sessions_use_leases_too_until_a_large_bucket_is_half_full(
    client: SessionClient, nodes: tuple[Endpoint, Endpoint], meter: Meter, there: dict[str, Any]
) -> None:
    rates = [(await each.pool.node()).rates for each in nodes]
    assert rates[0] is not None
    assert rates[1] is not None
    for number in range(100):
        endpoint = nodes[number % 2]
        assert (await client.call("add", {"a": 1, "b": 2}, endpoint=endpoint)).status == 200
    for each in rates:
        assert each is not None
        await each.flush()
    store: Any = nodes[0].backend.sessions
    with_buckets, original = 0, store.enter_charged

    async def enter_charged(*arguments: Any) -> Any:
        nonlocal with_buckets
        with_buckets += len(arguments[-1])
        return await original(*arguments)

    store.enter_charged = enter_charged
    refused = ["error" in (await client.call("add", {"a": 1, "b": 2})).json for _ in range(110)]
    assert refused == [False] * 99 + [True] * 11, "to the last one: the script decides"
    assert 80 < with_buckets <= 100, "and the node about what follows"


@pytest.mark.parametrize("rate_limits", [RateLimits(caller=limits("caller", TIGHT))])
async def test_a_flood_beyond_the_limit_reaches_redis_once(
    client: SessionClient, nodes: tuple[Endpoint, Endpoint], meter: Meter, there: dict[str, Any]
) -> None:
    refusals = ["error" in (await client.call("add", {"a": 1, "b": 2})).json for _ in range(3)]
    assert refusals == [False, True, True], "initialize and its notification have used up a tenth of the second one"
    refused, cost = await meter.of(client.call("add", {"a": 1, "b": 2}))
    assert "retry-after" in refused.headers
    assert not (cost.blocking or cost.behind)
    refused, cost = await meter.of(client.call("add", {"a": 1, "b": 2}, **there))
    assert (refused.error_code, cost.blocking, cost.behind) == (-32603, [("ENTER",)], [])
    for _ in range(5):
        refused, cost = await meter.of(client.call("add", {"a": 1, "b": 2}, **there))
        assert (refused.error_code, cost.blocking, cost.behind) == (-32603, [], [])


@pytest.mark.parametrize("rate_limits", [RateLimits(caller=limits("caller", TIGHT))])
async def test_both_nodes_and_both_kinds_of_request_share_a_bucket(
    nodes: tuple[Endpoint, Endpoint], client: SessionClient, there: dict[str, Any]
) -> None:
    rates = (await nodes[1].pool.node()).rates
    assert rates is not None
    assert (await sessionless(nodes[1])).status == 200
    await rates.flush()
    assert (await client.call("add", {"a": 1, "b": 2})).error_code == -32603
    refused = await client.call("add", {"a": 1, "b": 2}, **there)
    assert 3500 * 1000 > refused.json["error"]["data"]["retryAfterMs"] > 0
