"""What happened in a soak: counts, what must not have happened, and what led to it."""

from __future__ import annotations

import time
from collections import Counter, deque

_STORY, _RECENT = 60, 40


class Ledger:
    """Counts by name, violations with their story, and what was done to the processes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.blows: deque[str] = deque(maxlen=_RECENT)
        self.slowest = 0.0
        """How many seconds the slowest call took."""
        self._began = time.monotonic()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def blow(self, text: str) -> None:
        """Note what is done to a process."""
        self.blows.append(f"{self.now:8.3f} {text}")

    def violation(self, text: str, story: Story | None = None) -> None:
        """Note what must not happen, with what led to it, and say so at once."""
        lines = [f"VIOLATION at {self.now:.3f}: {text}"]
        if story is not None:
            lines += [f"  {line}" for line in story.lines]
        lines += ["  -- done to the processes:", *(f"  {blow}" for blow in self.blows)]
        self.violations.append(text)
        print("\n".join(lines), flush=True)


class Story:
    """The last things that one client did and saw."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger, self._name = ledger, name
        self.lines: deque[str] = deque(maxlen=_STORY)

    def note(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{self._ledger.now:8.3f} {self._name}: {text}"[:240])
