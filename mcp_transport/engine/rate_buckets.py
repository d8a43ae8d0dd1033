"""The buckets of rate limits as one process knows them: what it admitted, and what the store reported last.

A fill here is never higher than the store's after the next settlement, so a refusal needs no store. That one exceeds
the exact fill by a lease per node at most: the store counts a cost later, and it drains from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

from mcp_transport.domain.rate_limit import Charge, Limit, conforms, decide

__all__ = ["MAX_BUCKETS", "ChargeSet", "RateBuckets", "Refusal", "UnsettledCost", "Verdict"]

MAX_BUCKETS: Final = 20_000
"""How many buckets a process keeps: about 10 MB."""

# How many buckets are searched for an empty one, which can be dropped without effect.
_SEARCHED: Final = 20

# The part of a lease that requests may use up before their costs are added to the buckets.
_DEFERRED: Final = 0.25

# In seconds: sums of costs are not exact.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Refusal:
    """The charge that refuses a request for the longest time, in seconds."""

    charge: Charge
    retry_after: float


class Verdict(Enum):
    """How a request was admitted, or that it was not yet."""

    ADMITTED = "admitted"
    URGENT = "urgent"
    """Admitted; half of a lease is used up."""
    EXHAUSTED = "exhausted"
    """Not admitted: a lease is used up until the store has counted it."""
    NEAR = "near"
    """Not admitted: a bucket is half full, or its lease is small."""


class ChargeSet:
    """The charges of a request. Equal requests share a set, so that the buckets can charge several at once."""

    __slots__ = ("charges", "deferred", "has_large_leases", "round", "share")

    def __init__(self, charges: Sequence[Charge] = ()) -> None:
        self.charges = charges
        self.has_large_leases = all(charge.limit.has_large_lease for charge in charges)
        self.share = max((charge.cost / (charge.limit.lease * _DEFERRED) for charge in charges), default=0.0)
        """The part that a request takes of the cost that may be deferred."""
        self.round = -1
        """The round of the buckets in which requests with this set may be deferred."""
        self.deferred = 0
        """How many requests with this set were admitted in this round and are not charged yet."""


class _Bucket:
    __slots__ = ("at", "fill", "half_full", "half_lease", "lease", "limit", "name", "pending", "unsettled")

    def __init__(self, limit: Limit, name: str) -> None:
        self.limit, self.name = limit, name
        self.lease, self.half_lease = limit.lease + _ROUNDING, limit.lease / 2 - _ROUNDING
        self.half_full = limit.capacity / 2
        self.fill = self.at = 0.0
        """The fill at a time."""
        self.unsettled = 0.0
        """The admitted cost that the store has not counted."""
        self.pending = 0.0
        """The part of it that was not sent to the store."""

    def fill_at(self, now: float) -> float:
        fill = self.fill - now + self.at
        return fill if fill > 0.0 else 0.0

    def set_fill(self, fill: float, now: float) -> None:
        self.fill, self.at = fill, now

    def remove_sent(self, cost: float) -> None:
        remaining = self.unsettled - cost
        self.unsettled = remaining if remaining > _ROUNDING else 0.0


@dataclass(frozen=True, slots=True)
class UnsettledCost:
    """The cost that is sent to the store for one bucket."""

    bucket: _Bucket
    charge: Charge


class RateBuckets:
    """The buckets of a process, which all of its event loops share; thread-safe. `now` is a steady clock."""

    def __init__(self, now: Callable[[], float], max_buckets: int = MAX_BUCKETS) -> None:
        self.now, self._max = now, max_buckets
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._pending: dict[str, _Bucket] = {}
        self.retry_at = float("-inf")
        """When the store is to be tried again, after it did not answer."""
        self.is_store_away = False
        self._round = 0
        self._deferred: list[ChargeSet] = []
        self._deferred_share = 0.0
        self._is_deferred_settled = False

    def __len__(self) -> int:
        return len(self._buckets)

    @property
    def has_pending(self) -> bool:
        """Return whether there is cost that was not sent to the store."""
        return bool(self._pending or self._deferred)

    def defer(self, charges: ChargeSet) -> bool:
        """Admit a request like one that was just admitted, and charge it later; return False if that is not possible.

        All that is deferred at a time costs a part of each lease at most, and no bucket that it is charged in was
        more than half full when the round began.
        """
        with self._lock:
            share = self._deferred_share + charges.share
            if charges.round != self._round or share > 1.0:
                return False
            self._deferred_share = share
            if not charges.deferred:
                self._deferred.append(charges)
            charges.deferred += 1
        return True

    def refusal(self, charges: ChargeSet) -> Refusal | None:
        """Return why these charges are refused, as far as this process knows, or None; nothing is charged."""
        now = self.now()
        with self._lock:
            self._charge_deferred(now)
            for charge in charges.charges:
                bucket = self._buckets.get(charge.bucket)
                if bucket is not None and not conforms(bucket.fill_at(now), charge.cost, charge.capacity):
                    return self._refusal(charges, now)
        return None

    def are_pending(self, charges: ChargeSet) -> bool:
        """Return whether one of these buckets has cost that was not sent to the store."""
        return any(charge.bucket in self._pending for charge in charges.charges)

    def admit(self, charges: ChargeSet, *, settles: bool, leased: bool, only_far: bool = False) -> Refusal | Verdict:
        """Charge all buckets, or none if one refuses or, with `leased`, has no lease left.

        With `settles`, the store is to count the cost later. With `only_far`, nothing is charged if a bucket is more
        than half full, or has a small lease.
        """
        now = self.now()
        with self._lock:
            self._charge_deferred(now)
            admitted, has_lease, is_far = [], True, charges.has_large_leases
            defers = (leased or not settles) and not self.is_store_away
            for charge in charges.charges:
                bucket, cost = self._buckets.get(charge.bucket) or self._add(charge), charge.cost
                fill = bucket.fill - now + bucket.at
                fill = fill if fill > 0.0 else 0.0
                if not conforms(fill, cost, charge.capacity):
                    return self._refusal(charges, now)
                is_far = is_far and fill <= bucket.half_full
                unsettled = bucket.unsettled + cost
                # A cost that is larger than the lease may come alone.
                if leased and bucket.unsettled and unsettled > bucket.lease:
                    has_lease = False
                defers = defers and unsettled <= bucket.lease * (1 - _DEFERRED)
                admitted.append((bucket, fill + cost, cost))
            if only_far and not is_far:
                return Verdict.NEAR
            if not has_lease:
                return Verdict.EXHAUSTED
            if is_far and defers:
                charges.round, self._is_deferred_settled = self._round, settles
            return self._charge(admitted, now, settles=settles)

    def add(self, charges: Iterable[Charge]) -> None:
        """Record costs that the store has counted."""
        now = self.now()
        with self._lock:
            for charge in charges:
                bucket = self._bucket(charge)
                bucket.set_fill(bucket.fill_at(now) + charge.cost, now)

    def report(self, charge: Charge, fill: float, since: float) -> None:
        """Record a fill that the store reported; it was asked at the time `since`."""
        with self._lock:
            self._report(self._bucket(charge), fill, since)

    def take_unsettled(self, also: Iterable[Charge] = ()) -> list[UnsettledCost]:
        """Return the cost to send to the store, and the buckets of `also`, even without cost."""
        with self._lock:
            self._charge_deferred(self.now())
            self._round += 1  # the next request is charged at once, and has the store count it later
            buckets = {**self._pending, **{charge.bucket: self._bucket(charge) for charge in also}}
            self._pending.clear()
            return [self._take(bucket) for bucket in buckets.values()]

    def settled(self, sent: Sequence[UnsettledCost], fills: Sequence[float], since: float) -> None:
        """Record that the store has counted what was sent at the time `since`."""
        with self._lock:
            for item, fill in zip(sent, fills, strict=True):
                item.bucket.remove_sent(item.charge.cost)
                self._report(item.bucket, fill, since)
            self.is_store_away = False

    def not_settled(self, sent: Sequence[UnsettledCost], retry_at: float | None = None) -> None:
        """Record that the cost remains in the buckets of this process alone; `retry_at` if the store is away."""
        with self._lock:
            for item in sent:
                item.bucket.remove_sent(item.charge.cost)
            if retry_at is not None:
                self.is_store_away, self.retry_at = True, retry_at
                self._round += 1

    def _charge(self, admitted: list[tuple[_Bucket, float, float]], now: float, *, settles: bool) -> Verdict:
        result = Verdict.ADMITTED
        for bucket, fill, cost in admitted:
            bucket.fill, bucket.at = fill, now
            if settles:
                if not bucket.pending:
                    self._pending[bucket.name] = bucket
                bucket.pending += cost
                bucket.unsettled += cost
                if bucket.pending >= bucket.half_lease:
                    result = Verdict.URGENT
        return result

    def _charge_deferred(self, now: float) -> None:
        """Charge what was deferred, and begin the next round."""
        if not self._deferred:
            return
        for charges in self._deferred:
            count, charges.deferred = charges.deferred, 0
            costs = [(self._bucket(charge), count * charge.cost) for charge in charges.charges]
            charged = [(bucket, bucket.fill_at(now) + cost, cost) for bucket, cost in costs]
            self._charge(charged, now, settles=self._is_deferred_settled)
        self._deferred.clear()
        self._deferred_share = 0.0
        self._round += 1

    def _refusal(self, charges: ChargeSet, now: float) -> Refusal:
        decisions = [
            (decide(bucket.fill_at(now), charge.cost, charge.capacity), charge)
            for charge in charges.charges
            if (bucket := self._buckets.get(charge.bucket)) is not None
        ]
        decision, charge = max(decisions, key=lambda pair: pair[0].retry_after)
        return Refusal(charge, decision.retry_after)

    def _bucket(self, charge: Charge) -> _Bucket:
        return self._buckets.get(charge.bucket) or self._add(charge)

    def _add(self, charge: Charge) -> _Bucket:
        if len(self._buckets) >= self._max:
            self._drop_one()
        bucket = self._pending.get(charge.bucket) or _Bucket(charge.limit, charge.bucket)
        self._buckets[charge.bucket] = bucket
        return bucket

    def _drop_one(self) -> None:
        """Drop the emptiest of some buckets, and search the others last; pending cost is still sent."""
        now, some = self.now(), list(islice(self._buckets.values(), _SEARCHED))
        emptiest = min(some, key=lambda bucket: (bucket.fill_at(now) + bucket.pending, bucket.at))
        for bucket in some:
            del self._buckets[bucket.name]
            if bucket is not emptiest:
                self._buckets[bucket.name] = bucket

    def _take(self, bucket: _Bucket) -> UnsettledCost:
        cost, bucket.pending = bucket.pending, 0.0
        return UnsettledCost(bucket, Charge(bucket.limit, bucket.name, cost, bucket.limit.capacity))

    def _report(self, bucket: _Bucket, fill: float, since: float) -> None:
        now = self.now()
        # Both are lower bounds. The store's fill has drained since, and lacks what was admitted since.
        bucket.set_fill(max(bucket.fill_at(now), fill + bucket.pending - (now - since)), now)
