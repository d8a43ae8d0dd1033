"""Counts the calls of a process by operation, its refusals and its new sessions, for operators."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
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
from mcp_transport.domain.tool_durations import ToolDurations
from mcp_transport.domain.traffic_history import MAX_FAILURE_AGE, MAX_FAILURES, RANGES, FailedCall, Series
from mcp_transport.engine.clock import Clock

__all__ = ["CallMetrics"]

# Counting calls in batches takes half the time, because of warm processor caches.
_BATCH_CALLS: Final = 256
# Kinds of calls that have a histogram until they are added to those of operations, versions and tools.
_MAX_KINDS: Final = 500


class CallMetrics:
    """Counts by intervals, of which the latest become `ProcessMetrics`; thread-safe.

    `has_tool` tells whether the server has a tool; the durations of tools have no other names.
    """

    def __init__(self, clock: Clock, has_tool: Callable[[str], bool] = lambda _: False) -> None:
        self._now = clock.now
        self._tools = ToolDurations(has_tool)
        self._lock = threading.Lock()
        self._slot = int(self._now() // INTERVAL_SECONDS)
        self._current, self._recent, self._past = Counters(), Counters(), Counters()
        self._intervals: deque[tuple[Counters, Interval]] = deque()
        self._history = {name: Series(extent) for name, extent in RANGES.items()}
        # By operation and session, when the latest call failed; the oldest first.
        self._failures: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._streams = 0
        self._pending: deque[tuple[str, str, float, float, Ending, str]] = deque()
        # By operation, version and whether they succeeded: each call is added to one histogram alone.
        self._kinds: dict[tuple[str, str, bool], Histogram] = {}

    def record_call(
        self, operation: str, version: str, when: float, seconds: float, ending: Ending, session: str = ""
    ) -> None:
        """Count a call of a revision `version` that ended at `when` after `seconds`, in a `session` or none."""
        self._pending.append((operation, version, when, seconds, ending, session))
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

    def record_batch(self, calls: int) -> None:
        """Count a batch of so many calls."""
        with self._lock:
            self._count_pending().batches.update({"batches": 1, "calls": calls})

    def process_metrics(self, streams: int, load: Load | None = None) -> ProcessMetrics:
        """Return the counts of the latest intervals; the process holds `streams` and has this `load` now."""
        with self._lock:
            self._streams = streams
            self._count_pending()
            now, closed = self._now(), self._slot * INTERVAL_SECONDS
            return ProcessMetrics(
                intervals=tuple(interval for _, interval in self._intervals),
                operations=self._recent.top_operations(),
                versions=dict(self._recent.versions),
                refused=dict(self._recent.refused),
                opened=self._recent.opened,
                coalesced=self._recent.coalesced,
                batches=dict(self._recent.batches),
                waits=Histogram.from_json(self._recent.waits.to_json()),
                load=load or Load(),
                history={name: series.samples(closed) for name, series in self._history.items()},
                failures=tuple(
                    FailedCall(operation, key, max(0.0, now - when))
                    for (operation, key), when in self._failures.items()
                    if now - when <= MAX_FAILURE_AGE
                ),
            )

    def since_start(self) -> Counters:
        """Return a copy of the counts since the process started, which never decrease."""
        with self._lock:
            current, total = self._count_pending(), Counters()
            self._add_kinds()
            total.merge(self._past)
            total.merge(current)
            return total

    def tools_since_start(self) -> dict[tuple[str, str], Histogram]:
        """Return the durations of tool calls since the process started, by tool and era."""
        with self._lock:
            self._count_pending()
            self._add_kinds()
            return self._tools.copy()

    def _count_pending(self) -> Counters:
        """Count the pending calls, and return the counts of the current interval."""
        while self._pending:
            operation, version, when, seconds, ending, session = self._pending.popleft()
            self._counts_at(int(when // INTERVAL_SECONDS))
            kind = operation, version, ending is Ending.OK
            histogram = self._kinds.get(kind)
            if histogram is None:
                if len(self._kinds) >= _MAX_KINDS:
                    self._add_kinds()
                histogram = self._kinds[kind] = Histogram()
            histogram.add(seconds, failed=ending.is_error)
            if session and ending.is_error:
                self._record_failure(operation, session, when)
        return self._counts_at(int(self._now() // INTERVAL_SECONDS))

    def _record_failure(self, operation: str, session: str, when: float) -> None:
        """Remember that a call in a session has failed."""
        self._failures[operation, session] = when
        self._failures.move_to_end((operation, session))
        if len(self._failures) > MAX_FAILURES:
            self._failures.popitem(last=False)

    def _add_kinds(self) -> None:
        """Add the calls of the current interval to the histograms that are read."""
        for (operation, version, succeeded), histogram in self._kinds.items():
            self._current.histogram(operation).merge(histogram)
            self._current.versions[version] += histogram.calls
            self._tools.add(operation, version, histogram, succeeded=succeeded)
        self._kinds.clear()

    def _counts_at(self, slot: int) -> Counters:
        """Return the counts of the interval `slot`, and close earlier intervals."""
        if slot != self._slot:
            self._add_kinds()
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
        for series in self._history.values():
            series.add(self._slot * INTERVAL_SECONDS, total, self._streams)
        self._past.merge(counted)
        self._recent.merge(counted, limit=math.inf)  # unlimited, so that `subtract` can subtract each operation again
        if len(self._intervals) > MAX_INTERVALS:
            self._recent.subtract(self._intervals.popleft()[0])
