"""The buckets of rate limits as one process knows them: what it admitted, and what the store reported last.

A fill here is never higher than the store's after the next settlement, so a refusal needs no store. That one exceeds
the exact fill by a lease per node at most: the store counts a cost later, and it drains from then on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

from mcp_transport.domain.rate_limit import Charge, Limit, decide

__all__ = ["MAX_BUCKETS", "Admission", "RateBuckets", "Refusal", "UnsettledCost"]

MAX_BUCKETS: Final = 20_000
"""How many buckets a process keeps: about 10 MB."""

# How many of the least recently used buckets are searched for an empty one, which can be dropped without effect.
_SEARCHED: Final = 20

# In seconds: sums of costs are not exact.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Refusal:
    """The charge that refuses a request for the longest time, in seconds."""

    charge: Charge
    retry_after: float


class Admission(Enum):
    """How a request was admitted, or that it was not yet."""

    ADMITTED = "admitted"
    URGENT = "urgent"
    """Admitted; half of a lease is used up."""
    EXHAUSTED = "exhausted"
    """Not admitted: a lease is used up until the store has counted it."""


class _Bucket:
    __slots__ = ("at", "fill", "limit", "name", "pending", "sent")

    def __init__(self, limit: Limit, name: str) -> None:
        self.limit, self.name = limit, name
        self.fill = self.at = 0.0
        self.pending = self.sent = 0.0
        """The admitted cost that the store has not counted: not sent yet, and sent."""

    def fill_at(self, now: float) -> float:
        return max(0.0, self.fill - (now - self.at))

    def set_fill(self, fill: float, now: float) -> None:
        self.fill, self.at = fill, now

    def remove_sent(self, cost: float) -> None:
        remaining = self.sent - cost
        self.sent = remaining if remaining > _ROUNDING else 0.0

    def has_lease_for(self, cost: float) -> bool:
        """Return whether this cost may be added before the store has counted it; a large one may come alone."""
        unsettled = self.pending + self.sent
        return unsettled <= 0.0 or unsettled + cost <= self.limit.lease + _ROUNDING


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
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._pending: dict[str, _Bucket] = {}
        self.retry_at = float("-inf")
        """When the store is to be tried again, after it did not answer."""
        self.is_store_away = False

    def __len__(self) -> int:
        return len(self._buckets)

    @property
    def has_pending(self) -> bool:
        """Return whether there is cost that was not sent to the store."""
        return bool(self._pending)

    def refusal(self, charges: Iterable[Charge]) -> Refusal | None:
        """Return why these charges are refused, as far as this process knows, or None; nothing is charged."""
        now = self.now()
        with self._lock:
            return self._refusal([(charge, self._buckets.get(charge.bucket)) for charge in charges], now)

    def admit(self, charges: Sequence[Charge], *, settles: bool, leased: bool) -> Refusal | Admission:
        """Charge all buckets, or none if one refuses or, with `leased`, has no lease left.

        With `settles`, the store is to count the cost later.
        """
        now = self.now()
        with self._lock:
            pairs = [(charge, self._bucket(charge)) for charge in charges]
            if (refusal := self._refusal(pairs, now)) is not None:
                return refusal
            if leased and not all(bucket.has_lease_for(charge.cost) for charge, bucket in pairs):
                return Admission.EXHAUSTED
            urgent = False
            for charge, bucket in pairs:
                bucket.set_fill(bucket.fill_at(now) + charge.cost, now)
                if settles:
                    bucket.pending += charge.cost
                    self._pending[bucket.name] = bucket
                    urgent = urgent or bucket.pending >= bucket.limit.lease / 2 - _ROUNDING
            return Admission.URGENT if urgent else Admission.ADMITTED

    def report(self, charge: Charge, fill: float, since: float) -> None:
        """Record a fill that the store reported; it was asked at the time `since`."""
        with self._lock:
            self._report(self._bucket(charge), fill, since)

    def take_unsettled(self, also: Iterable[Charge] = ()) -> list[UnsettledCost]:
        """Return the cost to send to the store, and the buckets of `also`, even without cost."""
        with self._lock:
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

    def _refusal(self, pairs: Iterable[tuple[Charge, _Bucket | None]], now: float) -> Refusal | None:
        refusal = None
        for charge, bucket in pairs:
            if bucket is None:
                continue
            decision = decide(bucket.fill_at(now), charge.cost, charge.capacity)
            if not decision.allowed and (refusal is None or decision.retry_after > refusal.retry_after):
                refusal = Refusal(charge, decision.retry_after)
        return refusal

    def _bucket(self, charge: Charge) -> _Bucket:
        if (bucket := self._buckets.get(charge.bucket)) is not None:
            self._buckets.move_to_end(charge.bucket)
            return bucket
        if len(self._buckets) >= self._max:
            self._drop_one()
        bucket = self._pending.get(charge.bucket) or _Bucket(charge.limit, charge.bucket)
        self._buckets[charge.bucket] = bucket
        return bucket

    def _drop_one(self) -> None:
        """Drop an empty bucket or, if there is none, the least recently used one; its pending cost is still sent."""
        now, oldest = self.now(), list(islice(self._buckets.values(), _SEARCHED))
        empty = (bucket for bucket in oldest if not bucket.fill_at(now) and not bucket.pending)
        del self._buckets[next(empty, oldest[0]).name]

    def _take(self, bucket: _Bucket) -> UnsettledCost:
        cost, bucket.pending = bucket.pending, 0.0
        bucket.sent += cost
        return UnsettledCost(bucket, Charge(bucket.limit, bucket.name, cost, bucket.limit.capacity))

    def _report(self, bucket: _Bucket, fill: float, since: float) -> None:
        now = self.now()
        # Both are lower bounds. The store's fill has drained since, and lacks what was admitted since.
        bucket.set_fill(max(bucket.fill_at(now), fill + bucket.pending - (now - since)), now)
