"""Rate limits that several nodes share: leases, settlements in the background, and a store that is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.backends.base import Backend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.rate_limit import Charge, Limit, Rate, RateLimits, decide, limits
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.rate_buckets import ChargeSet, RateBuckets, Refusal, Verdict
from mcp_transport.engine.rate_settlement import RateSettlement
from tests.support.client import Answer, send_sessionless, until
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.rates import MemoryRateStore

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
Build = Callable[..., Endpoint]


@pytest.fixture
def store(clock: FakeClock) -> MemoryRateStore:
    return MemoryRateStore(clock.now)


@pytest.fixture
def build(build_endpoint: BuildEndpoint, store: MemoryRateStore, clock: FakeClock) -> Build:
    def build(*rates: str, **options: Any) -> Endpoint:
        memory = MemoryBackend(Policy(), clock.now)
        backend = Backend(memory, memory, memory, memory, store)
        return build_endpoint(backend, rate_limits=RateLimits(caller=limits("caller", rates), **options))

    return build


async def add(endpoint: Endpoint) -> Answer:
    return await send_sessionless(endpoint, "tools/call", ADD)


async def statuses(endpoint: Endpoint, count: int) -> list[int]:
    return [(await add(endpoint)).status for _ in range(count)]


async def rates_of(endpoint: Endpoint) -> RateSettlement:
    rates = (await endpoint.pool.node()).rates
    assert rates is not None
    return rates


def costs(store: MemoryRateStore) -> list[list[float]]:
    return [[round(charge.cost, 6) for charge in batch] for batch in store.batches]


async def test_less_than_half_a_lease_waits_to_be_settled_later(build: Build, store: MemoryRateStore) -> None:
    endpoint = build("100/s burst 400")  # a lease of 20
    assert await statuses(endpoint, 9) == [200] * 9
    await settle()
    assert store.batches == []
    await (await rates_of(endpoint)).flush()
    assert costs(store) == [[0.09]], "one charge for all of them"


async def test_half_a_lease_is_settled_at_once_while_requests_go_on(build: Build, store: MemoryRateStore) -> None:
    endpoint, held = build("100/s burst 400"), store.hold()
    assert await statuses(endpoint, 20) == [200] * 20
    assert costs(store) == [[0.13]], "requests are added up five at a time"
    held.set()
    await until(lambda: len(store.batches) == 2)
    assert sum(cost for batch in costs(store) for cost in batch) == pytest.approx(0.2), "the rest is urgent, too"


async def test_a_request_beyond_the_lease_waits_for_the_settlement(build: Build, store: MemoryRateStore) -> None:
    endpoint, held = build("100/s burst 400"), store.hold()
    assert await statuses(endpoint, 20) == [200] * 20
    waiting = [asyncio.ensure_future(add(endpoint)) for _ in range(3)]
    await settle()
    assert not any(task.done() for task in waiting)
    held.set()
    assert [(await task).status for task in waiting] == [200] * 3


async def test_a_request_that_waits_may_be_refused_by_what_the_store_says(
    build: Build, store: MemoryRateStore
) -> None:
    one, other = build("2/min"), build("2/min")  # a lease of one request
    assert await statuses(one, 2) == [200, 200]
    await (await rates_of(one)).flush()
    assert await statuses(other, 2) == [200, 429], "a lease more than the rate"


async def test_a_refusal_that_the_node_knows_of_needs_no_store(
    build: Build, store: MemoryRateStore, clock: FakeClock
) -> None:
    endpoint = build("2/min")
    assert await statuses(endpoint, 3) == [200, 200, 429]
    await (await rates_of(endpoint)).flush()
    store.batches.clear()
    assert await statuses(endpoint, 50) == [429] * 50
    await settle()
    assert store.batches == []
    await clock.advance(30)
    assert await statuses(endpoint, 2) == [200, 429]


async def test_a_node_that_stops_settles_what_it_admitted(build: Build, store: MemoryRateStore) -> None:
    endpoint = build("100/s burst 400")
    await statuses(endpoint, 3)
    await endpoint.pool.stop()
    assert costs(store) == [[0.03]]


async def test_several_buckets_are_settled_together(build_endpoint: BuildEndpoint, store: MemoryRateStore) -> None:
    memory = MemoryBackend(Policy(), store._now)
    counted = RateLimits(caller=limits("caller", ["400/s", "10000/min"]), address=limits("address", "500/s"))
    endpoint = build_endpoint(Backend(memory, memory, memory, memory, store), rate_limits=counted)
    await statuses(endpoint, 4)
    await (await rates_of(endpoint)).flush()
    assert costs(store) == [[0.01, 0.024, 0.008]]


async def test_each_node_counts_alone_while_the_store_is_away(
    build: Build, store: MemoryRateStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = build("4/min"), build("4/min")
    store.is_away = True
    for endpoint in (one, other):
        assert await statuses(endpoint, 6) == [200] * 4 + [429] * 2
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text.partition(":")[0] for text in said] == ["the store does not count requests for rate limits"] * 2
    store.is_away = False
    await clock.advance(16)
    assert await statuses(one, 2) == [200, 429]
    await (await rates_of(one)).flush()
    assert len(store.empty_at) == 1, "it counts again"


async def test_requests_get_503_while_the_store_is_away_if_the_setting_says_so(
    build: Build, store: MemoryRateStore, clock: FakeClock
) -> None:
    endpoint = build("40/min", refuses_without_store=True)
    store.is_away = True
    assert await statuses(endpoint, 1) == [200], "it does not know yet"
    await until(lambda: store.batches)
    answer = await add(endpoint)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json["error"]["data"] == {
        "retryable": True,
        "limit": "RATE_LIMITS",
        "key": "server",
        "retryAfterMs": 1000,
    }
    tries = len(store.batches)
    assert await statuses(endpoint, 5) == [503] * 5
    assert len(store.batches) == tries, "it is tried once a second"
    await clock.advance(1)
    assert await statuses(endpoint, 2) == [503] * 2
    assert len(store.batches) == tries + 1
    store.is_away = False
    await clock.advance(1)
    assert await statuses(endpoint, 2) == [200, 200], "the first one that asks is served"


async def test_a_store_that_fails_otherwise_is_no_outage(
    build: Build, store: MemoryRateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = build("2/min")

    async def broken(charges: Any) -> Any:
        raise ValueError("a bug")

    monkeypatch.setattr(store, "settle", broken)
    assert (await add(endpoint)).status == 200
    await settle()
    rates = await rates_of(endpoint)
    assert not rates.buckets.is_store_away


async def test_a_bucket_more_than_there_is_room_for_replaces_an_empty_one() -> None:
    now = 100.0
    buckets, (limit,) = RateBuckets(lambda: now, max_buckets=3), limits("caller", "1/s burst 10")

    def admit(name: str, weight: float = 1.0) -> Any:
        charges = ChargeSet([limit.charge(name, weight, is_light=False)])
        return buckets.admit(charges, settles=False, leased=False)

    admit("full", 10)
    admit("empty")
    admit("half", 5)
    now += 1
    admit("new")
    assert len(buckets) == 3
    assert isinstance(admit("full", 2), Refusal), "it was not dropped"
    admit("other")
    assert isinstance(admit("full", 2), Refusal), "and was used last"


async def test_pending_cost_of_a_dropped_bucket_is_settled() -> None:
    buckets, (limit,) = RateBuckets(lambda: 0.0, max_buckets=1), limits("caller", "1/s burst 100")
    for name in ("a", "b", "a"):
        buckets.admit(ChargeSet([limit.charge(name, 1.0, is_light=False)]), settles=True, leased=True)
    sent = {item.charge.bucket[-1]: item.charge.cost for item in buckets.take_unsettled()}
    assert sent == {"a": 2.0, "b": 1.0}


class _Nodes:
    """Some nodes and a store, as values: a step is a request at a node, a settlement of a node, or a pause."""

    def __init__(self, count: int, rate: Rate) -> None:
        self.now, self.admitted, self.refused_wrongly = 0.0, 0, 0
        self.limit = Limit("caller", rate)
        self.charge = self.limit.charge("x", 1.0, is_light=False)
        self.nodes = [RateBuckets(lambda: self.now) for _ in range(count)]
        self.charges = {node: ChargeSet([self.charge]) for node in self.nodes}
        self.store = MemoryRateStore(lambda: self.now)
        self.empty_at = 0.0
        """When a bucket would be empty in which all nodes counted at once."""

    def request(self, node: RateBuckets) -> None:
        charge, charges = self.charge, self.charges[node]
        verdict = Verdict.ADMITTED if node.defer(charges) else node.admit(charges, settles=True, leased=True)
        if verdict is Verdict.EXHAUSTED:
            self.settle(node)
            verdict = node.admit(charges, settles=True, leased=True)
        fill = max(0.0, self.empty_at - self.now)
        if isinstance(verdict, Refusal):
            early = len(self.nodes) * self.limit.lease
            self.refused_wrongly += decide(fill + early, charge.cost - 0.0001, charge.capacity).allowed
        else:
            assert verdict is not Verdict.EXHAUSTED
            self.admitted += 1
            self.empty_at = self.now + fill + charge.cost

    def settle(self, node: RateBuckets) -> None:
        sent = node.take_unsettled()
        fills = [self.store.count(item.charge) for item in sent]
        node.settled(sent, fills, self.now)


STEP = st.tuples(st.sampled_from(["request", "request", "request", "settle", "pause"]), st.integers(0, 1000))


@given(
    st.integers(1, 4),
    st.sampled_from(["60/min", "10/s burst 3", "100/s burst 200", "1000/s"]),
    st.lists(STEP, max_size=300),
)
def test_nodes_together_err_by_a_lease_each_at_most(count: int, rate: str, steps: list[tuple[str, int]]) -> None:
    nodes = _Nodes(count, Rate.parse(rate))
    for step, number in steps:
        node = nodes.nodes[number % count]
        if step == "pause":
            nodes.now += number / 2000
        else:
            getattr(nodes, step)(node)
    limit = nodes.limit
    assert nodes.admitted * limit.interval <= nodes.now + limit.capacity + count * limit.lease + 0.001
    assert not nodes.refused_wrongly


def test_a_report_never_lowers_a_fill_and_drains_from_when_it_was_asked_for() -> None:
    now = 0.0
    buckets, (limit,) = RateBuckets(lambda: now), limits("caller", "1/s burst 10")
    charge: Charge = limit.charge("x", 1.0, is_light=False)
    buckets.report(charge, 10.0, since=0.0)
    now = 2.0
    buckets.report(charge, 1.0, since=2.0)
    refusal = buckets.refusal(ChargeSet([limit.charge("x", 3.0, is_light=False)]))
    assert refusal is not None
    assert refusal.retry_after == pytest.approx(1.0)
    buckets.report(charge, 10.0, since=1.0)
    refusal = buckets.refusal(ChargeSet([charge]))
    assert refusal is None, "10 at the time 1 is 9 now"
