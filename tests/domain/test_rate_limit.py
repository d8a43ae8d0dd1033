from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throttled import MemoryStore, RateLimiterType, Throttled, per_duration

from mcp_transport.domain.rate_limit import Limit, Rate, RateLimits, decide, is_light, limits, weight_of

RATES = [
    ("600/min", Rate(600, 60, 600)),
    ("50/s burst 100", Rate(50, 1, 100)),
    ("1/second", Rate(1, 1, 1)),
    ("10/minute burst 1", Rate(10, 60, 1)),
    ("7/h", Rate(7, 3600, 7)),
    ("7/hour", Rate(7, 3600, 7)),
    ("100000/day burst 5", Rate(100_000, 86400, 5)),
]


@pytest.mark.parametrize(("text", "rate"), RATES)
def test_a_rate_is_a_count_a_unit_and_maybe_a_burst(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    "value",
    ["", "600", "0/s", "-1/s", "1.5/s", "10/week", "10/s burst", "10/s burst 0", "10 / s", "10/S", "٣/s", 600, None],
)
def test_anything_else_is_refused_with_what_is_expected(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a rate as a count and one of") as caught:
        Rate.parse(value)
    assert "such as '600/min'" in str(caught.value)
    assert str(caught.value).endswith(f"got {value!r}")


def test_a_rate_that_the_store_cannot_count_is_refused() -> None:
    assert Rate.parse("10000/s").count == 10_000
    assert Rate.parse("600000/min").count == 600_000
    with pytest.raises(ValueError, match=r"expected a rate of at most 10000/s, .*, got '600001/min'"):
        Rate.parse("600001/min")


def test_a_burst_comes_at_once_and_the_next_request_when_one_has_drained() -> None:
    limit, fill = Limit("caller", Rate.parse("10/s burst 3")), 0.0
    for _ in range(3):
        allowed, fill, _ = decide(fill, limit.interval, limit.capacity)
        assert allowed
    refused = decide(fill, limit.interval, limit.capacity)
    assert (refused.allowed, refused.fill) == (False, fill)
    assert refused.retry_after == pytest.approx(0.1)
    assert decide(fill - refused.retry_after, limit.interval, limit.capacity).allowed


def test_a_bucket_never_holds_less_than_nothing() -> None:
    assert decide(-50.0, 1.0, 1.0) == (True, 1.0, 0.0)


@given(
    st.sampled_from([1, 2, 4, 8, 64]),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 4)), max_size=60),
)
def test_it_decides_as_throttled_py_does(count: int, burst: int, steps: list[tuple[int, int]]) -> None:
    """The times and intervals are multiples of powers of two, so that both calculate exactly."""
    limit, now, full_at = Limit("caller", Rate(count, 1, burst)), 1000.0, 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("throttled.utils.now_mono_f", lambda: now)
        quota = per_duration(timedelta(seconds=1), count, burst)
        other = Throttled(key="k", using=RateLimiterType.GCRA.value, quota=quota, store=MemoryStore())
        for pause, cost in steps:
            now += pause / 128
            decision = decide(full_at - now, cost * limit.interval, limit.capacity)
            full_at = now + decision.fill
            expected = other.limit(cost=cost)
            assert decision.allowed is not expected.limited
            assert decision.retry_after == pytest.approx(expected.state.retry_after)


@given(st.integers(1, 10_000), st.integers(1, 100), st.lists(st.floats(0, 30), max_size=300))
def test_no_schedule_gets_more_than_the_rate_and_one_burst(count: int, burst: int, pauses: list[float]) -> None:
    limit, now, empty_at, admitted = Limit("caller", Rate(count, 60, burst)), 0.0, 0.0, 0
    for pause in pauses:
        now += pause
        allowed, fill, _ = decide(empty_at - now, limit.interval, limit.capacity)
        empty_at, admitted = now + fill, admitted + allowed
    assert admitted * limit.interval <= now + limit.capacity + 0.001


def test_a_lease_is_a_twentieth_of_the_burst_but_at_least_one_request() -> None:
    assert Limit("caller", Rate.parse("600/min")).lease == pytest.approx(30 * 0.1)
    assert Limit("caller", Rate.parse("10/min")).lease == pytest.approx(6.0)


def test_light_messages_may_exceed_the_burst_by_a_tenth_but_at_least_one_request() -> None:
    limit = Limit("caller", Rate.parse("600/min"))
    call, light = limit.charge("x", 1, is_light=False), limit.charge("x", 0.05, is_light=True)
    assert [call.capacity, light.capacity] == pytest.approx([60.0, 66.0])
    assert not decide(60.0, call.cost, call.capacity).allowed
    assert decide(60.0, light.cost, light.capacity).allowed
    assert Limit("caller", Rate.parse("1/min")).charge("x", 0.05, is_light=True).capacity == pytest.approx(120.0)


def test_buckets_differ_by_what_they_count_by_their_rate_and_whose_they_are() -> None:
    made = [
        Limit(kind, Rate.parse(rate), name=name).charge(identity, 1, is_light=False).bucket
        for kind in ("caller", "tool")
        for rate in ("1/s", "1/min")
        for name in ("", "add")
        for identity in ("a", "b")
    ]
    assert len(set(made)) == 16


def test_several_rates_are_limits_of_their_own_and_repeats_count_once() -> None:
    two = limits("tool", ["10/s", "100/min", "10/second"], setting="rate_limit", name="add")
    assert [(each.kind, str(each.rate), each.setting) for each in two] == [
        ("tool", "10/s", "rate_limit"),
        ("tool", "100/min", "rate_limit"),
    ]
    assert [str(each.rate) for each in limits("caller", "5/s")] == ["5/s"]


@pytest.mark.parametrize("value", [[], (), 5, None, {"10/s": 1}, ["10/s", 5]])
def test_what_is_no_rate_and_no_list_of_rates_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a rate"):
        limits("caller", value)


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get", "completion/complete", "x/y"])
def test_what_runs_functions_of_the_project_weighs_one(method: str) -> None:
    assert not is_light(method)


@pytest.mark.parametrize("method", ["ping", "initialize", "server/discover", "tools/list", "resources/list"])
def test_what_connects_or_lists_weighs_little(method: str) -> None:
    assert is_light(method)


def test_a_batch_weighs_as_much_as_its_messages() -> None:
    assert weight_of(light=4, heavy=2) == pytest.approx(2.2)


def test_limits_are_set_if_there_is_one() -> None:
    assert not RateLimits().are_set
    assert RateLimits(tools={"add": limits("tool", "1/s")}).are_set
