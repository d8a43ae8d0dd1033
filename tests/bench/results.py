"""What was measured, with the rounds made one: medians, and ratios of medians."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.servers import SERVERS, Server


class Results:
    """The content of a results.json."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self._values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for run in content["runs"]:
            for fact, value in run["facts"].items():
                self._values[run["server"], run["workload"], fact].append(value)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read the results in a folder."""
        return cls(json.loads((folder / "results.json").read_text()))

    def get(self, server: str, workload: str, fact: str) -> float | None:
        """Return the median of a fact, None where it was not measured."""
        values = self._values.get((server, workload, fact))
        return median(values) if values else None

    def ratio(self, workload: str, fact: str, server: str, other: str) -> float | None:
        """Return how many times another server's median a server's is."""
        one, two = self.get(server, workload, fact), self.get(other, workload, fact)
        return None if one is None or not two else one / two

    def servers(self, *workloads: str, only: Callable[[Server], bool] = lambda _: True) -> list[Server]:
        """Return the servers that one of the workloads was done to, in the order of their table."""
        measured = {server for server, workload, _ in self._values if workload in workloads}
        return [server for name, server in SERVERS.items() if name in measured and only(server)]

    def counts(self, workload: str, suffix: str = "") -> list[int]:
        """Return the numbers that the facts of a growing workload begin with."""
        facts = {fact for _, measured, fact in self._values if measured == workload and fact.endswith(suffix)}
        return sorted({int(fact.split()[0]) for fact in facts})


HEAD_ROOM = 0.6
"""The share of a published ratio that must be reached: other processes make each server look slower."""


def slower_than(published: Results, measured: Results, ours: str, others: Sequence[str]) -> list[str]:
    """Return which calls are slower beside other servers, in one run, than is published."""
    slow = []
    for other in others:
        for workload in ("session", "alone"):
            expected = published.ratio(workload, "rate", ours, other)
            ratio = measured.ratio(workload, "rate", ours, other)
            if expected and ratio is not None and ratio < HEAD_ROOM * expected:
                slow.append(f"{workload} against {other}: {ratio:.3f}, published {expected:.3f}")
    return slow


def command(words: Sequence[str]) -> str:
    """Return the command line that is published: without the folder it writes to."""
    kept = list(words)
    if "--output" in kept:
        place = kept.index("--output")
        del kept[place : place + 2]
    return " ".join(["python -m tests.bench", *kept])
