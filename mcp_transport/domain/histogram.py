"""The distribution of the durations of calls, in buckets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Histogram", "parse_count"]

# Buckets grow by 20 %, starting at 0.1 ms, so a percentile is accurate to a tenth.
_LOG_GROWTH: Final = math.log(1.2)
_MIN_SECONDS: Final = 0.0001

# Limits on counts that another process sent; the last bucket stands for centuries.
_MAX_BUCKET: Final = 200
_MAX_TOTAL_SECONDS: Final = 1e15


def parse_count(value: Any) -> int:
    """Return a count from JSON. Raises: ValueError."""
    if not isinstance(value, int) or value < 0:
        raise ValueError("not a count")
    return value


@dataclass(slots=True)
class Histogram:
    """The number of calls, of failures, their total duration, and the distribution of durations."""

    calls: int = 0
    errors: int = 0
    seconds: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float, *, failed: bool = False) -> None:
        """Count one call."""
        self.calls += 1
        self.errors += failed
        self.seconds += seconds
        self.buckets[math.ceil(math.log(seconds / _MIN_SECONDS) / _LOG_GROWTH) if seconds > _MIN_SECONDS else 0] += 1

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        self.calls += other.calls
        self.errors += other.errors
        self.seconds += other.seconds
        self.buckets.update(other.buckets)

    def subtract(self, other: Histogram) -> None:
        """Remove the counts of another histogram that was merged into this one."""
        self.calls -= other.calls
        self.errors -= other.errors
        self.seconds = max(0.0, self.seconds - other.seconds)
        self.buckets.subtract(other.buckets)
        for bucket in [bucket for bucket, count in self.buckets.items() if count <= 0]:
            del self.buckets[bucket]

    def percentile(self, share: float) -> float:
        """Return the seconds within which `share` of the calls ended; 0 when there were none."""
        rank, count = share * self.calls, 0
        for bucket in sorted(self.buckets):
            count += self.buckets[bucket]
            if count >= rank:
                return _MIN_SECONDS * math.exp(bucket * _LOG_GROWTH)
        return 0.0

    def count_within(self, seconds: float) -> int:
        """Return how many calls took at most `seconds`; each bucket counts by its midpoint."""
        last = math.log(seconds / _MIN_SECONDS) / _LOG_GROWTH + 0.5
        return sum(count for bucket, count in self.buckets.items() if bucket <= last)

    def to_json(self) -> list[Any]:
        """Convert to JSON values."""
        return [self.calls, self.errors, round(self.seconds, 6), [list(item) for item in self.buckets.items()]]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Histogram:
        """Parse the value of `to_json`. Raises: ValueError, TypeError for anything else."""
        calls, errors, seconds, buckets, *_ = value
        counts = Counter({parse_count(bucket): parse_count(count) for bucket, count in buckets})
        if not 0 <= seconds <= _MAX_TOTAL_SECONDS or max(counts, default=0) > _MAX_BUCKET:
            raise ValueError("not a duration")
        return cls(parse_count(calls), parse_count(errors), seconds, counts)
