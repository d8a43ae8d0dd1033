"""What came, beside what should have come, and the table of how each project fared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SERVED, ANSWERS = "served", "answers"
"""Properties that tests record: project, Django and server; how many answers were compared."""


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


@dataclass
class Row:
    """The tests of one project with one Django behind one server."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    answers: int = 0
    seconds: float = 0


@dataclass
class Table:
    """Rows by project, Django and server."""

    rows: defaultdict[tuple[str, ...], Row] = field(default_factory=lambda: defaultdict(Row))

    def add(self, report: Any) -> None:
        """Take in what pytest reports of one phase of a test."""
        properties = dict(report.user_properties)
        if SERVED not in properties:
            return
        row = self.rows[properties[SERVED]]
        row.seconds += report.duration
        if report.when == "call":
            row.passed += report.passed
            row.failed += report.failed
            row.answers += properties.get(ANSWERS, 0)
        elif report.failed:
            row.failed += 1
        row.skipped += report.skipped

    def __str__(self) -> str:
        lines = [
            "| Project | Django | Server | Passed | Failed | Skipped | Answers | Seconds |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for served, row in sorted(self.rows.items()):
            counts = (row.passed, row.failed, row.skipped, row.answers, f"{row.seconds:.1f}")
            lines.append(f"| {' | '.join([*served, *map(str, counts)])} |")
        return "\n".join(lines)
