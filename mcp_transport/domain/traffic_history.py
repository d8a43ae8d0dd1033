"""Samples of traffic over an hour and a day, and failed calls, few enough to be part of each heartbeat."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mcp_transport.domain.histogram import Histogram, parse_count

__all__ = ["MAX_FAILURES", "MAX_FAILURE_AGE", "RANGES", "FailedCall", "Range", "Sample", "Series", "latest_failures"]


class Range(NamedTuple):
    """A time that charts can show: how many seconds a sample covers, and how many samples are kept."""

    seconds: float
    samples: int


RANGES: Final[Mapping[str, Range]] = {"1h": Range(60.0, 60), "24h": Range(600.0, 144)}
"""By name, the ranges beside the last five minutes: each sample takes some 20 bytes of a heartbeat."""

MAX_FAILURES: Final = 50
"""How many failed calls a process keeps, each operation once per session."""
MAX_FAILURE_AGE: Final = 3600.0
"""Seconds for which it does."""

_MAX_MILLISECONDS: Final = 1e12


@dataclass(frozen=True, slots=True)
class Sample:
    """The calls within a part of a range, and the number of open stream sockets."""

    calls: int = 0
    errors: int = 0
    p95: float = 0.0
    """Seconds."""
    streams: int = 0

    def to_json(self) -> Any:
        """Convert to JSON values; an empty sample to 0."""
        if not self.calls and not self.streams:
            return 0
        return [self.calls, self.errors, round(self.p95 * 1000, 1), self.streams]

    @classmethod
    def from_json(cls, value: Any) -> Sample:
        """Parse the value of `to_json`. Raises: ValueError, TypeError for anything else."""
        if value == 0:
            return cls()
        calls, errors, milliseconds, streams, *_ = value
        if not 0 <= milliseconds <= _MAX_MILLISECONDS:
            raise ValueError("not a duration")
        return cls(parse_count(calls), parse_count(errors), milliseconds / 1000, parse_count(streams))


class Series:
    """Collects the samples of a range; times are seconds of one clock, and never decrease."""

    def __init__(self, extent: Range) -> None:
        self._seconds = extent.seconds
        self._samples = deque[Sample](maxlen=extent.samples)
        self._at: int | None = None
        self._calls, self._streams = Histogram(), 0

    def add(self, at: float, calls: Histogram, streams: int) -> None:
        """Add the calls of a short time that began at `at`."""
        self._close_until(at)
        self._calls.merge(calls)
        self._streams = streams

    def samples(self, at: float) -> tuple[Sample, ...]:
        """Return the samples that are complete at `at`, oldest first."""
        self._close_until(at)
        return tuple(self._samples)

    def _close_until(self, at: float) -> None:
        slot = int(at // self._seconds)
        if self._at is None:
            self._at = slot
        if slot <= self._at:
            return
        calls = self._calls
        self._samples.append(Sample(calls.calls, calls.errors, calls.percentile(0.95), self._streams))
        for _ in range(min(slot - self._at - 1, self._samples.maxlen or 0)):
            self._samples.append(Sample(streams=self._streams))
        self._at, self._calls = slot, Histogram()


@dataclass(frozen=True, slots=True)
class FailedCall:
    """The latest failed call of an operation in a session."""

    operation: str
    key: str
    """The session's."""
    age: float
    """Seconds."""

    def to_json(self) -> list[Any]:
        """Convert to JSON values."""
        return [self.operation, self.key, round(self.age)]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> FailedCall:
        """Parse the value of `to_json`. Raises: ValueError, TypeError for anything else."""
        operation, key, age, *_ = value
        if not 0 <= age < float("inf"):
            raise ValueError("not an age")
        return cls(str(operation), str(key), float(age))


def latest_failures(failures: Iterable[FailedCall]) -> tuple[FailedCall, ...]:
    """Return the failed calls, newest first, without earlier ones of the same operation in the same session."""
    latest: dict[tuple[str, str], FailedCall] = {}
    for failure in sorted(failures, key=lambda item: item.age):
        latest.setdefault((failure.operation, failure.key), failure)
    return tuple(latest.values())
