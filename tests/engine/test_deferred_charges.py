"""Requests that are admitted like the one before them, and charged together: as exact as if charged one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.rate_limit import Limit, Rate, conforms
from mcp_transport.engine.rate_buckets import ChargeSet, RateBuckets, Refusal, Verdict

LIMIT: Final = Limit("caller", Rate.parse("100/s burst 400"))  # a lease of 20, of which 5 are deferred
MOST: Final = 5


def charge_set(*names: str, weight: float = 1.0, limit: Limit = LIMIT) -> ChargeSet:
    return ChargeSet([limit.charge(name, weight, is_light=False) for name in names])


class _Process:
    """The buckets of a process without a store, and the same buckets with each request charged at once."""

    def __init__(self) -> None:
        self.now, self.deferred = 0.0, 0
        self.buckets = RateBuckets(lambda: self.now)
        self.empty_at: dict[str, float] = {}

    def request(self, charges: ChargeSet) -> None:
        fills = {
            charge.bucket: max(0.0, self.empty_at.get(charge.bucket, 0.0) - self.now) for charge in charges.charges
        }
        is_deferred = self.buckets.defer(charges)
        self.deferred += is_deferred
        if not is_deferred and isinstance(self.buckets.admit(charges, settles=False, leased=False), Refusal):
            # What is charged late drains late.
            late = LIMIT.lease / 4
            assert any(fills[one.bucket] + one.cost > one.capacity - late for one in charges.charges)
            return
        assert all(conforms(fills[one.bucket], one.cost, one.capacity) for one in charges.charges)
        for one in charges.charges:
            self.empty_at[one.bucket] = self.now + fills[one.bucket] + one.cost


SETS: Final = [("ann", "office"), ("bob", "office"), ("ann",)]
STEP: Final = st.tuples(st.integers(0, 3), st.integers(1, 150))


@given(st.lists(STEP, max_size=30), st.sampled_from([0.05, 1.0, 3.0]))
def test_several_callers_behind_one_address(steps: Sequence[tuple[int, int]], weight: float) -> None:
    process, sets = _Process(), [charge_set(*names, weight=weight) for names in SETS]
    for number, count in steps:
        if number == len(sets):
            process.now += count / 100
        for _ in range(count if number < len(sets) else 0):
            process.request(sets[number])


def test_most_requests_of_a_busy_caller_are_deferred() -> None:
    process, charges = _Process(), charge_set("ann")
    for _ in range(150):
        process.request(charges)
    assert process.deferred == 125


def test_what_is_deferred_is_a_quarter_of_a_lease_for_all_callers_together() -> None:
    buckets = RateBuckets(lambda: 0.0)
    sets = [charge_set(name) for name in ("ann", "bob")]
    for charges in sets:
        assert buckets.admit(charges, settles=True, leased=True) is Verdict.ADMITTED
    assert [buckets.defer(sets[number % 2]) for number in range(MOST + 2)] == [True] * MOST + [False] * 2
    sent = {item.charge.bucket[-3:]: round(item.charge.cost / LIMIT.interval) for item in buckets.take_unsettled()}
    assert sent == {"ann": 1 + 3, "bob": 1 + 2}


def test_nothing_is_deferred_unless_an_equal_request_was_just_admitted() -> None:
    buckets, charges = RateBuckets(lambda: 0.0), charge_set("ann")
    assert not buckets.defer(charges)
    buckets.admit(charges, settles=False, leased=False)
    assert buckets.defer(charges)
    buckets.refusal(charges)  # a decision charges all that was deferred
    assert not buckets.defer(charges)


@pytest.mark.parametrize(
    ("admitted", "rate"),
    [(201, "100/s burst 400"), (1, "100/s burst 199")],
    ids=["a bucket half full", "a small lease"],
)
def test_no_request_is_deferred_with(admitted: int, rate: str) -> None:
    buckets, limit = RateBuckets(lambda: 0.0), Limit("caller", Rate.parse(rate))
    buckets.admit(charge_set("ann", weight=admitted, limit=limit), settles=False, leased=False)
    charges = charge_set("ann", limit=limit)
    buckets.admit(charges, settles=False, leased=False)
    assert not buckets.defer(charges)


def test_a_lease_that_is_nearly_used_up_is_not_exceeded_by_deferred_requests() -> None:
    buckets, charges, count = RateBuckets(lambda: 0.0), charge_set("ann"), 0
    while buckets.defer(charges) or buckets.admit(charges, settles=True, leased=True) is not Verdict.EXHAUSTED:
        count += 1
        buckets.take_unsettled()  # sent, and not answered
    assert count == 20


def test_while_the_store_is_away_nothing_is_deferred() -> None:
    buckets, charges = RateBuckets(lambda: 0.0), charge_set("ann")
    buckets.admit(charges, settles=True, leased=True)
    buckets.not_settled(buckets.take_unsettled(), retry_at=1.0)
    assert not buckets.defer(charges)
    for leased in (True, False):
        buckets.admit(charges, settles=leased, leased=leased)
        assert not buckets.defer(charges)


def test_deferred_cost_is_pending_and_nothing_is_deferred_after_a_settlement() -> None:
    """A settlement is planned when a request is charged, not when one is deferred."""
    buckets, charges = RateBuckets(lambda: 0.0), charge_set("ann")
    buckets.admit(charges, settles=True, leased=True)
    [sent] = buckets.take_unsettled()
    assert not buckets.defer(charges)
    assert not buckets.has_pending
    buckets.admit(charges, settles=True, leased=True)
    assert buckets.defer(charges)
    [more] = buckets.take_unsettled()
    assert (sent.charge.cost, more.charge.cost) == pytest.approx((LIMIT.interval, 2 * LIMIT.interval))
