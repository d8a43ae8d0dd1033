"""Counting calls and their durations, adding up what several processes counted, and reading rates out of that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "INTERVAL",
    "KEPT",
    "MOST",
    "Counted",
    "Histogram",
    "Interval",
    "Point",
    "ProcessMetrics",
    "TrafficSummary",
    "add_up",
]

INTERVAL: Final = 5.0
"""Seconds that are counted together."""
KEPT: Final = 60
"""How many intervals are kept."""
MOST: Final = 100
"""So many operations are told apart; what further ones do counts as one."""
_OTHER: Final = "other"

# Durations are counted in steps of 20 %, from 0.1 ms on: a percentile is right to a tenth.
_STEP: Final = math.log(1.2)
_SHORTEST: Final = 0.0001


# What another process counted is believed up to a step of centuries.
_LAST_STEP: Final = 200
_MOST_SECONDS: Final = 1e15


def _whole(value: Any) -> int:
    """Return a number that somebody counted. Raises: ValueError."""
    if not isinstance(value, int) or value < 0:
        raise ValueError("no count")
    return value


@dataclass(slots=True)
class Histogram:
    """So many calls, how many failed, how long they took together, and how these durations are spread."""

    calls: int = 0
    errors: int = 0
    seconds: float = 0.0
    steps: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float, *, failed: bool = False) -> None:
        """Count one more."""
        self.calls += 1
        self.errors += failed
        self.seconds += seconds
        self.steps[math.ceil(math.log(seconds / _SHORTEST) / _STEP) if seconds > _SHORTEST else 0] += 1

    def merge(self, other: Histogram) -> None:
        """Count what another one has counted, too."""
        self.calls += other.calls
        self.errors += other.errors
        self.seconds += other.seconds
        self.steps.update(other.steps)

    def part(self, other: Histogram) -> None:
        """Count no longer what another one has counted."""
        self.calls -= other.calls
        self.errors -= other.errors
        self.seconds = max(0.0, self.seconds - other.seconds)
        self.steps.subtract(other.steps)
        for step in [step for step, count in self.steps.items() if count <= 0]:
            del self.steps[step]

    def percentile(self, share: float) -> float:
        """Return the seconds within which `share` of the calls ended; 0 when there were none."""
        wanted, seen = share * self.calls, 0
        for step in sorted(self.steps):
            seen += self.steps[step]
            if seen >= wanted:
                return _SHORTEST * math.exp(step * _STEP)
        return 0.0

    def within(self, seconds: float) -> int:
        """Return how many calls took at most so long; a step counts as its middle."""
        last = math.log(seconds / _SHORTEST) / _STEP + 0.5
        return sum(count for step, count in self.steps.items() if step <= last)

    def to_json(self) -> list[Any]:
        """Write it as JSON can have it."""
        return [self.calls, self.errors, round(self.seconds, 6), [list(item) for item in self.steps.items()]]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Histogram:
        """Read what `to_json` wrote. Raises: ValueError, TypeError for anything else."""
        calls, errors, seconds, steps, *_ = value
        known = Counter({_whole(step): _whole(count) for step, count in steps})
        if not 0 <= seconds <= _MOST_SECONDS or max(known, default=0) > _LAST_STEP:
            raise ValueError("no duration")
        return cls(_whole(calls), _whole(errors), seconds, known)


@dataclass(slots=True)
class Counted:
    """What was counted within an interval, within all that are kept, or since the start."""

    operations: dict[str, Histogram] = field(default_factory=dict)
    """By `domain.history.operation_of`, `MOST` of them and one for all others."""
    versions: Counter[str] = field(default_factory=Counter)
    """Calls by protocol revision."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that were refused, as `ProcessMetrics` has them."""
    opened: int = 0
    """New sessions."""

    def tally(self, operation: str, most: float = MOST) -> Histogram:
        """Return the tally of an operation; where `most` are known, further ones share one."""
        known = self.operations.get(operation)
        if known is None:
            name = operation if len(self.operations) < most else _OTHER
            known = self.operations.setdefault(name, Histogram())
        return known

    def merge(self, other: Counted, most: float = MOST) -> None:
        """Add what was counted elsewhere."""
        for name, tally in other.operations.items():
            self.tally(name, most).merge(tally)
        self.versions.update(other.versions)
        self.refused.update(other.refused)
        self.opened += other.opened

    def part(self, other: Counted) -> None:
        """Take away what another interval has."""
        for name, tally in other.operations.items():
            self.operations[name].part(tally)
            if not self.operations[name].calls:
                del self.operations[name]
        self.versions = self.versions - other.versions
        self.refused = self.refused - other.refused
        self.opened -= other.opened


@dataclass(frozen=True, slots=True)
class Interval:
    """What a process counted within an interval, and how many sockets of streams it held at its end."""

    tally: Histogram = field(default_factory=Histogram)
    streams: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMetrics:
    """What one process counted within its last intervals."""

    intervals: tuple[Interval, ...] = ()
    """The newest last; the one that is not over is left out."""
    operations: Mapping[str, Histogram] = field(default_factory=dict)
    """By `domain.history.operation_of`, the most called first."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Calls by protocol revision."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Requests that were refused, by HTTP status, and sessions that had to make room for others (`room`)."""
    opened: int = 0
    """New sessions."""

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON can have it."""
        return {
            "intervals": [[item.tally.to_json(), item.streams] for item in self.intervals],
            "operations": {name: tally.to_json() for name, tally in self.operations.items()},
            "versions": dict(self.versions),
            "refused": dict(self.refused),
            "opened": self.opened,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessMetrics:
        """Read what `to_json` wrote. Raises: ValueError, TypeError, LookupError for anything else."""
        return cls(
            intervals=tuple(Interval(Histogram.from_json(item[0]), _whole(item[1])) for item in value["intervals"]),
            operations={str(name): Histogram.from_json(tally) for name, tally in value["operations"].items()},
            versions={str(name): _whole(count) for name, count in value["versions"].items()},
            refused={str(name): _whole(count) for name, count in value["refused"].items()},
            opened=_whole(value["opened"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What went on at a time, for a chart."""

    age: float
    """Seconds before now."""
    calls: float
    """Calls a second."""
    errors: float
    """Failed calls a second."""
    p95: float
    """The seconds within which 95 of 100 calls ended."""
    streams: int
    """Sockets of streams that were held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSummary:
    """What some processes counted within their last intervals."""

    processes: int = 0
    seconds: float = 0.0
    """Over how long it was counted, by the process that counts for longest."""
    total: Histogram = field(default_factory=Histogram)
    operations: Mapping[str, Histogram] = field(default_factory=dict)
    """The most called first."""
    versions: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    opened: int = 0
    points: tuple[Point, ...] = ()
    """The oldest first."""

    def rate(self, count: float) -> float:
        """Return how many a second `count` are."""
        return count / self.seconds if self.seconds else 0.0


def add_up(numbers: Iterable[ProcessMetrics]) -> TrafficSummary:
    """Add up what processes counted."""
    known = list(numbers)
    total, operations = Histogram(), dict[str, Histogram]()
    versions, refused = Counter[str](), Counter[str]()
    for item in known:
        for name, tally in item.operations.items():
            operations.setdefault(name, Histogram()).merge(tally)
            total.merge(tally)
        versions.update(item.versions)
        refused.update(item.refused)
    return TrafficSummary(
        processes=len(known),
        seconds=INTERVAL * max((len(item.intervals) for item in known), default=0),
        total=total,
        operations=dict(sorted(operations.items(), key=lambda named: (-named[1].calls, named[0]))),
        versions=dict(sorted(versions.items())),
        refused=dict(sorted(refused.items())),
        opened=sum(item.opened for item in known),
        points=tuple(_points(known)),
    )


def _points(known: Sequence[ProcessMetrics]) -> Iterator[Point]:
    """Lay the intervals of all processes over each other, by how long ago they were."""
    for ago in range(max((len(item.intervals) for item in known), default=0), 0, -1):
        tally, streams = Histogram(), 0
        for item in known:
            if len(item.intervals) >= ago:
                tally.merge(item.intervals[-ago].tally)
                streams += item.intervals[-ago].streams
        yield Point(
            age=INTERVAL * (ago - 1),
            calls=tally.calls / INTERVAL,
            errors=tally.errors / INTERVAL,
            p95=tally.percentile(0.95),
            streams=streams,
        )
