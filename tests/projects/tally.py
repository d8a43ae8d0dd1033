"""What came, beside what should have come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MOST = 20
"""Wrong answers that are printed."""


@dataclass
class Tally:
    """Counts answers, and keeps the wrong ones."""

    where: str = ""
    answers: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, what: str, came: Any, expected: Any) -> None:
        """Compare one answer with the right one."""
        self.answers += 1
        if came != expected:
            self.wrong.append(f"{self.where}: {what}: {came!r}, expected {expected!r}")

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        """Add up."""
        total = cls()
        for tally in tallies:
            total.answers += tally.answers
            total.wrong += tally.wrong
        return total

    def __str__(self) -> str:
        shown = self.wrong[:MOST] + ["..."] * (len(self.wrong) > MOST)
        return f"{len(self.wrong)} of {self.answers} answers are wrong:\n" + "\n".join(shown)
