"""The buckets of rate limits in Redis: the scripts decide as the pure function does, and every key expires."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_transport.backends.base import Backend
from mcp_transport.backends.redis import redis_backend
from mcp_transport.backends.results import Entered, RateLimited
from mcp_transport.domain.rate_limit import Charge, Limit, Rate, decide, limits
from mcp_transport.domain.session import session_key
from tests.support.backends import ANN, BOB, KEY, POLICY, UNKNOWN_KEY, HandClock, in_flight, session
from tests.support.redis.aliases import django
from tests.support.redis.backend import build_by_hand, client_of, leave
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

# Slow ones: the clock of the scripts stands still, but keys expire by Redis's own.
LIMIT = Limit("caller", Rate.parse("10/min burst 3"))


def charge(weight: float = 1.0, limit: Limit = LIMIT, name: str = "x", *, is_light: bool = False) -> Charge:
    return limit.charge(name, weight, is_light=is_light)


async def enter(backend: Backend, *charges: Charge, key: str = KEY, principal: str = ANN) -> Entered | None:
    return await backend.sessions.enter_charged(key, principal, "n1", [], charges)


async def settle(backend: Backend, *charges: Charge) -> Sequence[float]:
    assert backend.rates is not None
    return await backend.rates.settle(charges)


def buckets(admin: redis.Redis) -> dict[str, int]:
    """Return the milliseconds until each bucket's key expires."""
    return {str(name): int(admin.pttl(name)) for name in admin.scan_iter("mcp:rate:*")}


@pytest.fixture
async def opened(backend: Backend, clock: HandClock) -> Backend:
    assert backend.sessions.charges_at_entry
    await backend.sessions.open(session(clock))
    return backend


async def test_a_burst_enters_and_the_next_post_is_refused(opened: Backend, clock: HandClock) -> None:
    for _ in range(3):
        assert await enter(opened, charge()) is not None
    with pytest.raises(RateLimited) as refused:
        await enter(opened, charge())
    assert [refused.value.position, refused.value.fill] == [0, 18.0]
    clock.advance(6)
    assert await enter(opened, charge()) is not None
    with pytest.raises(RateLimited):
        await enter(opened, charge())


async def test_a_refused_post_changes_nothing(admin: redis.Redis, opened: Backend) -> None:
    other = Limit("address", Rate.parse("1/h"))
    assert await enter(opened, charge(), charge(limit=other)) is not None
    before = {name: admin.dump(name) for name in admin.scan_iter()}
    with pytest.raises(RateLimited) as refused:
        await opened.sessions.enter_charged(KEY, ANN, "n2", [in_flight(1)], [charge(), charge(limit=other)])
    assert refused.value.position == 1
    assert {name: admin.dump(name) for name in admin.scan_iter()} == before
    assert await opened.sessions.in_flight(KEY) == ()


async def test_the_bucket_that_takes_longest_is_reported(opened: Backend) -> None:
    slow, fast = Limit("caller", Rate.parse("1/h")), Limit("caller", Rate.parse("1/min"))
    assert await enter(opened, charge(limit=fast), charge(limit=slow)) is not None
    with pytest.raises(RateLimited) as refused:
        await enter(opened, charge(limit=fast), charge(limit=slow))
    assert refused.value.position == 1


async def test_requests_are_registered_as_without_limits(opened: Backend) -> None:
    requests = [in_flight(1), in_flight("two")]
    entered = await opened.sessions.enter_charged(KEY, ANN, "n1", requests, [charge(), charge(limit=limit_of("9/s"))])
    assert entered is not None
    assert entered.running == ()
    assert {entry.request_id for entry in await opened.sessions.in_flight(KEY)} == {1, "two"}
    again = await opened.sessions.enter_charged(KEY, ANN, "n1", requests, [charge()])
    assert again is not None
    assert [entry.request_id for entry in again.running] == [1, "two"]


def limit_of(rate: str) -> Limit:
    return Limit("caller", Rate.parse(rate))


async def test_unknown_sessions_and_those_of_others_are_not_charged(admin: redis.Redis, opened: Backend) -> None:
    assert await enter(opened, charge(), key=UNKNOWN_KEY) is None
    assert await enter(opened, charge(), principal=BOB) is None
    assert buckets(admin) == {}


async def test_the_life_of_a_session_and_of_buckets_are_apart(
    admin: redis.Redis, opened: Backend, clock: HandClock
) -> None:
    """Entering extends the life of the session's keys, but not that of the buckets."""
    clock.advance(50)
    await enter(opened, charge())
    ((_, left),) = buckets(admin).items()
    assert 0 < left <= 6000
    assert int(admin.pttl(f"mcp:{{{KEY}}}")) > 90_000


async def test_settled_costs_add_up_beyond_the_capacity(
    admin: redis.Redis, backend: Backend, clock: HandClock
) -> None:
    many = [charge(2.0, name=str(number)) for number in range(250)]
    assert await settle(backend, *many) == pytest.approx([12.0] * 250)
    assert await settle(backend, charge(5.0, name="0"), charge(0.5, name="1")) == pytest.approx([42.0, 15.0])
    clock.advance(30)
    assert await settle(backend, charge(0.0, name="0"), charge(0.0, name="none")) == pytest.approx([12.0, 0.0])
    assert len(buckets(admin)) == 250
    assert all(0 < left <= 42_000 for left in buckets(admin).values())


async def test_entering_and_settling_share_the_buckets(opened: Backend) -> None:
    assert await settle(opened, charge(3.0)) == [18.0]
    with pytest.raises(RateLimited):
        await enter(opened, charge())
    assert await enter(opened, charge(0.05, is_light=True)) is not None


@pytest.mark.parametrize("value", ["x", "nan", "-nan", "inf", "1e300", "-5", ""])
async def test_a_bucket_with_a_strange_value_counts_as_empty(admin: redis.Redis, opened: Backend, value: str) -> None:
    await enter(opened, charge())
    (name,) = buckets(admin)
    admin.set(name, value)
    assert await settle(opened, charge(0.0)) == [0.0]
    assert await enter(opened, charge()) is not None
    assert 0 < buckets(admin)[name] <= 6000


async def test_a_bucket_of_another_type_counts_as_empty(admin: redis.Redis, opened: Backend) -> None:
    await enter(opened, charge())
    (name,) = buckets(admin)
    admin.delete(name)
    admin.lpush(name, "x")
    assert await enter(opened, charge()) is not None
    assert buckets(admin)[name] > 0


async def test_only_a_cluster_leaves_the_decision_to_the_nodes(server: RedisServer) -> None:
    backend = redis_backend(POLICY, django(server.url), cluster=False)
    assert backend.sessions.charges_at_entry
    await leave(backend)


NUMBERS = itertools.count()
STEPS = st.lists(st.tuples(st.integers(0, 400_000), st.sampled_from([1, 2, 3, 20])), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rate=st.sampled_from(["10/h burst 3", "60/h", "7/h", "100/day burst 1"]), steps=STEPS)
def test_the_script_decides_as_the_pure_function_does(
    server: RedisServer, clock: HandClock, rate: str, steps: list[tuple[int, int]]
) -> None:
    """With each step some milliseconds pass, and a request of some twentieths arrives."""

    async def compare() -> None:
        limit, empty_at, key = limit_of(rate), 0.0, session_key(f"session-{next(NUMBERS)}")
        backend = build_by_hand(server, replace(POLICY, session_ttl=1e8, session_max_age=1e9))
        try:
            await backend.sessions.open(session(clock, key, ends=clock.now + 1e8))
            for pause, weight in steps:
                clock.advance(pause / 1000)
                each = charge(weight / 20, limit, key)
                expected = decide(empty_at - clock.now, each.cost, each.capacity)
                empty_at = clock.now + expected.fill
                try:
                    allowed = await enter(backend, each, key=key) is not None
                except RateLimited as refused:
                    allowed = False
                    assert refused.fill == pytest.approx(expected.fill, abs=0.001)
                assert allowed is expected.allowed
        finally:
            await leave(backend)

    asyncio.run(compare())


async def test_no_two_limits_share_a_bucket(backend: Backend) -> None:
    keys = client_of(backend).keys
    made = [*limits("caller", ["1/s", "1/min"]), *limits("tool", "1/s"), *limits("tool", "1/s", name="shop.f")]
    names = {keys.rate_bucket(limit.charge("x", 1, is_light=False).bucket) for limit in made}
    assert len(names) == 4
