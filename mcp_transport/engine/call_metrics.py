"""Counts what a process does, for operators: calls by what they ask for, refusals, new sessions."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Final

from mcp_transport.domain.history import Ending
from mcp_transport.domain.metrics import (
    INTERVAL_SECONDS,
    MAX_INTERVALS,
    Counters,
    Histogram,
    Interval,
    ProcessMetrics,
)
from mcp_transport.engine.clock import Clock

__all__ = ["CallMetrics"]

# So many calls are counted together, which takes half the time: each one finds warm what the one before it used.
_TOGETHER: Final = 256


class CallMetrics:
    """Counts by intervals, the last of which make `ProcessMetrics`; any thread may."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now
        self._lock = threading.Lock()
        self._slot = int(self._now() // INTERVAL_SECONDS)
        self._open, self._sum, self._past = Counters(), Counters(), Counters()
        self._kept: deque[tuple[Counters, Interval]] = deque()
        self._streams = 0
        self._waiting: deque[tuple[str, str, float, float, Ending]] = deque()

    def count(self, operation: str, version: str, when: float, seconds: float, ending: Ending) -> None:
        """Count a call that ended at a time, after so long, at a protocol revision."""
        self._waiting.append((operation, version, when, seconds, ending))
        if len(self._waiting) >= _TOGETHER:
            with self._lock:
                self._current()

    def refuse(self, reason: str) -> None:
        """Count a request that was not let in."""
        with self._lock:
            self._current().refused[reason] += 1

    def open(self) -> None:
        """Count a new session."""
        with self._lock:
            self._current().opened += 1

    def numbers(self, streams: int) -> ProcessMetrics:
        """Return what was counted within the last intervals; `streams` are held by the process now."""
        with self._lock:
            self._streams = streams
            self._current()
            return ProcessMetrics(
                intervals=tuple(interval for _, interval in self._kept),
                operations=self._sum.most_called(),
                versions=dict(self._sum.versions),
                refused=dict(self._sum.refused),
                opened=self._sum.opened,
            )

    def since_start(self) -> Counters:
        """Return a copy of what was counted so far; none of its numbers ever falls."""
        with self._lock:
            current, counted = self._current(), Counters()
            counted.merge(self._past)
            counted.merge(current)
            return counted

    def _current(self) -> Counters:
        """Return what counts now, and keep what is over."""
        while self._waiting:
            operation, version, when, seconds, ending = self._waiting.popleft()
            counted = self._at(int(when // INTERVAL_SECONDS))
            counted.histogram(operation).add(seconds, failed=ending.is_error)
            counted.versions[version] += 1
        return self._at(int(self._now() // INTERVAL_SECONDS))

    def _at(self, slot: int) -> Counters:
        """Return what counts in an interval, and keep those that are over."""
        if slot != self._slot:
            self._keep(self._open)
            for _ in range(min(MAX_INTERVALS, slot - self._slot - 1)):
                self._keep(Counters())
            self._slot, self._open = slot, Counters()
        return self._open

    def _keep(self, counted: Counters) -> None:
        total = Histogram()
        for tally in counted.operations.values():
            total.merge(tally)
        self._kept.append((counted, Interval(total, self._streams)))
        self._past.merge(counted)
        self._sum.merge(counted, limit=math.inf)  # `subtract` finds each under its own name
        if len(self._kept) > MAX_INTERVALS:
            self._sum.subtract(self._kept.popleft()[0])
