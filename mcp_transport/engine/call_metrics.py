"""Counts the calls of a process by operation, its refusals and its new sessions, for operators."""

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
    Load,
    ProcessMetrics,
)
from mcp_transport.engine.clock import Clock

__all__ = ["CallMetrics"]

# Counting calls in batches takes half the time, because of warm processor caches.
_BATCH_CALLS: Final = 256


class CallMetrics:
    """Counts by intervals, of which the latest become `ProcessMetrics`; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now
        self._lock = threading.Lock()
        self._slot = int(self._now() // INTERVAL_SECONDS)
        self._current, self._recent, self._past = Counters(), Counters(), Counters()
        self._intervals: deque[tuple[Counters, Interval]] = deque()
        self._streams = 0
        self._pending: deque[tuple[str, str, float, float, Ending]] = deque()

    def record_call(self, operation: str, version: str, when: float, seconds: float, ending: Ending) -> None:
        """Count a call of a protocol revision `version` that ended at `when` after `seconds`."""
        self._pending.append((operation, version, when, seconds, ending))
        if len(self._pending) >= _BATCH_CALLS:
            with self._lock:
                self._count_pending()

    def record_refusal(self, reason: str) -> None:
        """Count a refused request by status or other reason."""
        with self._lock:
            self._count_pending().refused[reason] += 1

    def record_wait(self, seconds: float) -> None:
        """Count a call that has waited until it could run."""
        with self._lock:
            self._count_pending().waits.add(seconds)

    def record_coalesced(self) -> None:
        """Count a request that was answered by the run of an equal one."""
        with self._lock:
            self._count_pending().coalesced += 1

    def record_session(self) -> None:
        """Count a new session."""
        with self._lock:
            self._count_pending().opened += 1

    def process_metrics(self, streams: int, load: Load | None = None) -> ProcessMetrics:
        """Return the counts of the latest intervals; the process holds `streams` and has this `load` now."""
        with self._lock:
            self._streams = streams
            self._count_pending()
            return ProcessMetrics(
                intervals=tuple(interval for _, interval in self._intervals),
                operations=self._recent.top_operations(),
                versions=dict(self._recent.versions),
                refused=dict(self._recent.refused),
                opened=self._recent.opened,
                coalesced=self._recent.coalesced,
                waits=Histogram.from_json(self._recent.waits.to_json()),
                load=load or Load(),
            )

    def since_start(self) -> Counters:
        """Return a copy of the counts since the process started, which never decrease."""
        with self._lock:
            current, total = self._count_pending(), Counters()
            total.merge(self._past)
            total.merge(current)
            return total

    def _count_pending(self) -> Counters:
        """Count the pending calls, and return the counts of the current interval."""
        while self._pending:
            operation, version, when, seconds, ending = self._pending.popleft()
            counted = self._counts_at(int(when // INTERVAL_SECONDS))
            counted.histogram(operation).add(seconds, failed=ending.is_error)
            counted.versions[version] += 1
        return self._counts_at(int(self._now() // INTERVAL_SECONDS))

    def _counts_at(self, slot: int) -> Counters:
        """Return the counts of the interval `slot`, and close earlier intervals."""
        if slot != self._slot:
            self._close_interval(self._current)
            for _ in range(min(MAX_INTERVALS, slot - self._slot - 1)):
                self._close_interval(Counters())
            self._slot, self._current = slot, Counters()
        return self._current

    def _close_interval(self, counted: Counters) -> None:
        total = Histogram()
        for histogram in counted.operations.values():
            total.merge(histogram)
        self._intervals.append((counted, Interval(total, self._streams)))
        self._past.merge(counted)
        self._recent.merge(counted, limit=math.inf)  # unlimited, so that `subtract` can subtract each operation again
        if len(self._intervals) > MAX_INTERVALS:
            self._recent.subtract(self._intervals.popleft()[0])
