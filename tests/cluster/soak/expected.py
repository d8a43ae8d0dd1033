"""What a client asks for, and what it must get."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.soak.tale import Tale

_WEIGHTS = {
    **{"count": 4, "count_safely": 2, "count_durably": 3, "flood": 2},
    **{"ask": 3, "whisper": 3, "add": 4, "announce": 1},
}


@dataclass
class Wish:
    """One call of a tool; `name` is like no other."""

    tool: str
    name: str
    arguments: dict[str, Any]
    steps: int = 0

    @property
    def counts(self) -> bool:
        return self.tool.startswith("count")

    def prepare(self, folder: Path) -> None:
        """Open the gate that counting tools wait for."""
        if self.counts:
            (folder / f"{self.name}.open").touch()

    def faults(self, outcome: dict[str, Any], tale: Tale, sent: int, folder: Path, heard: Counter[str]) -> list[str]:
        """Return what is wrong with a call's end, after the request was sent `sent` times."""
        found = []
        text = _text(outcome)
        if text is not None and not text.startswith(self._text()):
            found.append(f"the outcome is {text!r} instead of {self._text()!r}")
        if text is not None and self.steps and tale.seq and len(tale.progress) != self.steps:
            found.append(f"progress {tale.progress} of {self.steps}")
        if self.counts:
            found += self._runs(text is not None, sent, folder)
        if heard[self.name] > sent:
            found.append(f"{self.name} whispered {heard[self.name]} times for {sent} requests")
        return found

    def _runs(self, succeeded: bool, sent: int, folder: Path) -> list[str]:
        marks = folder / f"{self.name}.runs"
        runs = len(marks.read_text().splitlines()) if marks.exists() else 0
        for mark in folder.glob(f"{self.name}.*"):
            mark.unlink()
        if runs > sent and self.tool != "count_durably":
            return [f"it ran {runs} times for {sent} requests"]
        return [f"a result without a run: {runs}"] if succeeded and not runs else []

    def _text(self) -> str:
        """Return how the text of its result begins."""
        if self.counts:
            return f"counted to {self.steps} on "
        said = {"flood": "flooded", "ask": f"accept {self.name}", "whisper": "whispered", "announce": "announced"}
        return said.get(self.tool) or str(self.arguments["a"] + self.arguments["b"])


def _text(outcome: dict[str, Any]) -> str | None:
    """Return the text of a result, None for an error."""
    result = outcome.get("result")
    return None if result is None or result.get("isError") else str(result["content"][0]["text"])


def draw(dice: random.Random, name: str) -> Wish:
    """Make up a call."""
    tool = dice.choices([*_WEIGHTS], weights=[*_WEIGHTS.values()])[0]
    match tool:
        case "flood":
            steps = dice.randint(1, 300)
            return Wish(tool, name, {"steps": steps, "size": dice.choice((10, 100, 1000))}, steps)
        case "ask" | "announce":
            return Wish(tool, name, {})
        case "whisper":
            return Wish(tool, name, {"text": name})
        case "add":
            return Wish(tool, name, {"a": dice.randint(0, 9), "b": dice.randint(0, 9)})
    steps = dice.randint(0, 8)
    return Wish(tool, name, {"name": name, "steps": steps, "pause": dice.choice((0.0, 0.05, 0.3))}, steps)
