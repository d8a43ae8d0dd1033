"""Counts what a process does, for operators: calls by what they ask for, refusals, new sessions."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mcp_transport.engine.clock import Clock
from mcp_transport.protocol.history import Ending
from mcp_transport.protocol.measures import INTERVAL, KEPT, Interval, Numbers, Tally

__all__ = ["Meter"]

# So many operations are told apart; what further ones do counts as one.
_MOST: Final = 100
_OTHER: Final = "other"


@dataclass(slots=True)
class _Counted:
    """What was counted within an interval, or within all that are kept."""

    operations: dict[str, Tally] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    opened: int = 0

    def tally(self, operation: str) -> Tally:
        """Return the tally of an operation."""
        known = self.operations.get(operation)
        if known is None:
            name = operation if len(self.operations) < _MOST else _OTHER
            known = self.operations.setdefault(name, Tally())
        return known

    def merge(self, other: _Counted) -> None:
        """Add what another interval has."""
        for name, tally in other.operations.items():
            self.operations.setdefault(name, Tally()).merge(tally)
        self.versions.update(other.versions)
        self.refused.update(other.refused)
        self.opened += other.opened

    def part(self, other: _Counted) -> None:
        """Take away what another interval has."""
        for name, tally in other.operations.items():
            self.operations[name].part(tally)
            if not self.operations[name].calls:
                del self.operations[name]
        self.versions = self.versions - other.versions
        self.refused = self.refused - other.refused
        self.opened -= other.opened


class Meter:
    """Counts by intervals, the last of which make `Numbers`; any thread may."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now
        self._lock = threading.Lock()
        self._slot = self._slot_now()
        self._open, self._sum = _Counted(), _Counted()
        self._kept: deque[tuple[_Counted, Interval]] = deque()
        self._streams = 0

    def count(self, operation: str, version: str, seconds: float, ending: Ending) -> None:
        """Count a call that took so long, at a protocol revision."""
        with self._lock:
            counted = self._current()
            counted.tally(operation).add(seconds, failed=ending.is_error)
            counted.versions[version] += 1

    def refuse(self, reason: str) -> None:
        """Count a request that was not let in."""
        with self._lock:
            self._current().refused[reason] += 1

    def open(self) -> None:
        """Count a new session."""
        with self._lock:
            self._current().opened += 1

    def numbers(self, streams: int) -> Numbers:
        """Return what was counted within the last intervals; `streams` are held by the process now."""
        with self._lock:
            self._streams = streams
            self._current()
            return Numbers(
                intervals=tuple(interval for _, interval in self._kept),
                operations=_most_called(self._sum.operations),
                versions=dict(self._sum.versions),
                refused=dict(self._sum.refused),
                opened=self._sum.opened,
            )

    def _slot_now(self) -> int:
        return int(self._now() // INTERVAL)

    def _current(self) -> _Counted:
        """Return what counts now, and keep what is over."""
        slot = self._slot_now()
        if slot != self._slot:
            self._keep(self._open)
            for _ in range(min(KEPT, slot - self._slot - 1)):
                self._keep(_Counted())
            self._slot, self._open = slot, _Counted()
        return self._open

    def _keep(self, counted: _Counted) -> None:
        total = Tally()
        for tally in counted.operations.values():
            total.merge(tally)
        self._kept.append((counted, Interval(total, self._streams)))
        self._sum.merge(counted)
        if len(self._kept) > KEPT:
            self._sum.part(self._kept.popleft()[0])


def _most_called(operations: Mapping[str, Tally]) -> dict[str, Tally]:
    """Return copies of the tallies, which go on counting."""
    ordered = sorted(operations.items(), key=lambda named: (-named[1].calls, named[0]))
    return {name: Tally.from_json(tally.to_json()) for name, tally in ordered[:_MOST]}
