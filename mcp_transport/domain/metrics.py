"""Count calls and their durations, aggregate the counts of several processes, and derive rates from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_transport.domain.circuit_breaker import BreakerRecord, merge_records
from mcp_transport.domain.histogram import Histogram, parse_count
from mcp_transport.domain.traffic_history import RANGES, FailedCall, Sample, latest_failures

__all__ = [
    "INTERVAL_SECONDS",
    "MAX_INTERVALS",
    "MAX_OPERATIONS",
    "Counters",
    "Histogram",
    "Interval",
    "Load",
    "Point",
    "ProcessMetrics",
    "TrafficSummary",
    "aggregate",
]

INTERVAL_SECONDS: Final = 5.0
"""The length of one counting interval."""
MAX_INTERVALS: Final = 60
"""How many past intervals a process keeps: five minutes."""
MAX_OPERATIONS: Final = 100
"""How many operations have a histogram of their own; all further ones share one."""
_OTHER: Final = "other"


@dataclass(slots=True)
class Counters:
    """Counts of one interval, of all intervals that are kept, or since the process started."""

    operations: dict[str, Histogram] = field(default_factory=dict)
    """By `domain.history.operation_name`: `MAX_OPERATIONS` of them, and "other" for the rest."""
    versions: Counter[str] = field(default_factory=Counter)
    """Calls by protocol revision."""
    refused: Counter[str] = field(default_factory=Counter)
    """Refused requests, by the reasons of `ProcessMetrics.refused`."""
    opened: int = 0
    """New sessions."""
    coalesced: int = 0
    """Requests that were answered by the run of an equal one."""
    batches: Counter[str] = field(default_factory=Counter)
    """How many "batches" of calls ran, and how many "calls" these had."""
    waits: Histogram = field(default_factory=Histogram)
    """How long calls have waited until they could run, without those that ran at once."""

    def histogram(self, operation: str, limit: float = MAX_OPERATIONS) -> Histogram:
        """Return the histogram of an operation; beyond `limit` operations, new ones share one."""
        histogram = self.operations.get(operation)
        if histogram is None:
            name = operation if len(self.operations) < limit else _OTHER
            histogram = self.operations.setdefault(name, Histogram())
        return histogram

    def top_operations(self) -> dict[str, Histogram]:
        """Return copies of the histograms of the most called operations, `MAX_OPERATIONS` at most."""
        ordered = sorted(self.operations.items(), key=lambda item: (-item[1].calls, item[0]))
        return {name: Histogram.from_json(histogram.to_json()) for name, histogram in ordered[:MAX_OPERATIONS]}

    def merge(self, other: Counters | ProcessMetrics, limit: float = MAX_OPERATIONS) -> None:
        """Add the counts of `other`."""
        for name, histogram in other.operations.items():
            self.histogram(name, limit).merge(histogram)
        self.versions.update(other.versions)
        self.refused.update(other.refused)
        self.opened += other.opened
        self.coalesced += other.coalesced
        self.batches.update(other.batches)
        self.waits.merge(other.waits)

    def subtract(self, other: Counters) -> None:
        """Remove the counts of an interval that was merged into this one."""
        for name, histogram in other.operations.items():
            self.operations[name].subtract(histogram)
            if not self.operations[name].calls:
                del self.operations[name]
        self.versions = self.versions - other.versions
        self.refused = self.refused - other.refused
        self.opened -= other.opened
        self.coalesced -= other.coalesced
        self.batches = self.batches - other.batches
        self.waits.subtract(other.waits)


@dataclass(frozen=True, slots=True)
class Interval:
    """The calls of one interval, and the number of open stream sockets at its end."""

    histogram: Histogram = field(default_factory=Histogram)
    streams: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What runs, waits and is occupied at the moment, in one process or in several."""

    running: int = 0
    """Requests that run, including `subscriptions/listen`."""
    waiting: int = 0
    """Calls that wait until they may run, or until a thread is free."""
    threads: int = 0
    """Threads in which synchronous functions run."""
    lost_threads: int = 0
    """Of these, the ones whose calls have ended."""

    def __add__(self, other: Load) -> Load:
        return Load(
            running=self.running + other.running,
            waiting=self.waiting + other.waiting,
            threads=self.threads + other.threads,
            lost_threads=self.lost_threads + other.lost_threads,
        )

    def to_json(self) -> list[int]:
        """Convert to JSON values."""
        return [self.running, self.waiting, self.threads, self.lost_threads]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Load:
        """Parse the value of `to_json`. Raises: ValueError, TypeError for anything else."""
        running, waiting, threads, lost_threads, *_ = map(parse_count, value)
        return cls(running=running, waiting=waiting, threads=threads, lost_threads=lost_threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMetrics:
    """Counts of one process over its last intervals."""

    intervals: tuple[Interval, ...] = ()
    """Oldest first; without the current interval."""
    operations: Mapping[str, Histogram] = field(default_factory=dict)
    """By `domain.history.operation_name`, most called first."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Calls by protocol revision."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Refused requests by HTTP status or by the limit that refused them; `room` counts evicted sessions."""
    opened: int = 0
    """New sessions."""
    coalesced: int = 0
    """Requests that were answered by the run of an equal one."""
    batches: Mapping[str, int] = field(default_factory=dict)
    waits: Histogram = field(default_factory=Histogram)
    """How long calls have waited until they could run, without those that ran at once."""
    load: Load = Load()
    """At the moment."""
    breakers: tuple[BreakerRecord, ...] = ()
    """Circuit breakers that are not closed at the moment."""
    history: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    """By the name of a range in `RANGES`: its samples, oldest first."""
    failures: tuple[FailedCall, ...] = ()
    """The latest failed calls in sessions."""

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "intervals": [[item.histogram.to_json(), item.streams] for item in self.intervals],
            "operations": {name: histogram.to_json() for name, histogram in self.operations.items()},
            "versions": dict(self.versions),
            "refused": dict(self.refused),
            "opened": self.opened,
            "coalesced": self.coalesced,
            "batches": dict(self.batches),
            "waits": self.waits.to_json(),
            "load": self.load.to_json(),
            "breakers": [record.to_json() for record in self.breakers],
            "history": {name: [item.to_json() for item in samples] for name, samples in self.history.items()},
            "failures": [item.to_json() for item in self.failures],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessMetrics:
        """Parse the value of `to_json`. Raises: ValueError, TypeError, LookupError for anything else."""
        return cls(
            intervals=tuple(
                Interval(Histogram.from_json(item[0]), parse_count(item[1])) for item in value["intervals"]
            ),
            operations={str(name): Histogram.from_json(item) for name, item in value["operations"].items()},
            versions={str(name): parse_count(count) for name, count in value["versions"].items()},
            refused={str(name): parse_count(count) for name, count in value["refused"].items()},
            opened=parse_count(value["opened"]),
            # These are absent in the metrics of the previous release.
            coalesced=parse_count(value.get("coalesced", 0)),
            batches={str(name): parse_count(count) for name, count in value.get("batches", {}).items()},
            waits=Histogram.from_json(value["waits"]) if "waits" in value else Histogram(),
            load=Load.from_json(value.get("load", (0, 0, 0, 0))),
            breakers=tuple(BreakerRecord.from_json(item) for item in value.get("breakers", ())),
            history={
                name: tuple(Sample.from_json(item) for item in samples)
                for name, samples in value.get("history", {}).items()
                if name in RANGES
            },
            failures=tuple(FailedCall.from_json(item) for item in value.get("failures", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of the traffic charts."""

    age: float
    """Seconds before now."""
    calls: float
    """Calls per second."""
    errors: float
    """Failed calls per second."""
    p95: float
    """The 95th percentile of call durations, in seconds."""
    streams: int
    """Open stream sockets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSummary:
    """Counts of several processes over their last intervals."""

    processes: int = 0
    seconds: float = 0.0
    """The time covered: that of the process with the most intervals."""
    total: Histogram = field(default_factory=Histogram)
    operations: Mapping[str, Histogram] = field(default_factory=dict)
    """Most called first."""
    versions: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    opened: int = 0
    coalesced: int = 0
    batches: Mapping[str, int] = field(default_factory=dict)
    waits: Histogram = field(default_factory=Histogram)
    load: Load = Load()
    """At the moment."""
    breakers: tuple[BreakerRecord, ...] = ()
    """Those that are not closed at the moment, by tool."""
    points: tuple[Point, ...] = ()
    """Oldest first."""
    history: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    """Points of longer ranges, by their name in `RANGES`; of several processes, the highest p95."""
    failures: tuple[FailedCall, ...] = ()
    """The latest failed calls in sessions, newest first, each operation once per session."""

    def rate(self, count: float) -> float:
        """Return `count` per second."""
        return count / self.seconds if self.seconds else 0.0


def aggregate(processes: Iterable[ProcessMetrics]) -> TrafficSummary:
    """Add up the counts of several processes."""
    metrics = list(processes)
    total, counts = Histogram(), Counters()
    for item in metrics:
        counts.merge(item, limit=math.inf)
    for histogram in counts.operations.values():
        total.merge(histogram)
    return TrafficSummary(
        processes=len(metrics),
        seconds=INTERVAL_SECONDS * max((len(item.intervals) for item in metrics), default=0),
        total=total,
        operations=dict(sorted(counts.operations.items(), key=lambda item: (-item[1].calls, item[0]))),
        versions=dict(sorted(counts.versions.items())),
        refused=dict(sorted(counts.refused.items())),
        opened=counts.opened,
        coalesced=counts.coalesced,
        batches=dict(counts.batches),
        waits=counts.waits,
        load=sum((item.load for item in metrics), Load()),
        breakers=merge_records(record for item in metrics for record in item.breakers),
        points=tuple(_points(metrics)),
        history={name: tuple(_history_points(name, metrics)) for name in RANGES},
        failures=latest_failures(failure for item in metrics for failure in item.failures),
    )


def _history_points(name: str, metrics: Sequence[ProcessMetrics]) -> Iterator[Point]:
    """Merge the samples of all processes that are equally old."""
    seconds, series = RANGES[name].seconds, [item.history.get(name, ()) for item in metrics]
    for age in range(max(map(len, series), default=0), 0, -1):
        samples = [samples[-age] for samples in series if len(samples) >= age]
        yield Point(
            age=seconds * (age - 1),
            calls=sum(item.calls for item in samples) / seconds,
            errors=sum(item.errors for item in samples) / seconds,
            p95=max(item.p95 for item in samples),
            streams=sum(item.streams for item in samples),
        )


def _points(metrics: Sequence[ProcessMetrics]) -> Iterator[Point]:
    """Merge the intervals of all processes that are equally old."""
    for age in range(max((len(item.intervals) for item in metrics), default=0), 0, -1):
        histogram, streams = Histogram(), 0
        for item in metrics:
            if len(item.intervals) >= age:
                histogram.merge(item.intervals[-age].histogram)
                streams += item.intervals[-age].streams
        yield Point(
            age=INTERVAL_SECONDS * (age - 1),
            calls=histogram.calls / INTERVAL_SECONDS,
            errors=histogram.errors / INTERVAL_SECONDS,
            p95=histogram.percentile(0.95),
            streams=streams,
        )
