"""The bounds that a server with protection must keep: each a line with what was measured, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.overload.capacity import CAPACITY

_TOLERANCE = 0.2
_RECOVERY_SECONDS = 2.0
_GOODPUT = 0.9
_MEMORY_GROWTH = 1.1
_GOES_ON_MS = 2000.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound of one scenario; `holds` is None where nothing can be said."""

    scenario: str
    bound: str
    measured: str
    holds: bool | None


def verdicts(content: Mapping[str, Any], mode: str = "with") -> list[Verdict]:
    """Judge what was measured with protection, or without it."""
    deadline = content["protection"]["defaults"].get("QUEUE_TIMEOUT_SECONDS")
    return [verdict for run in content["runs"] if run["mode"] == mode for verdict in _judged(run, deadline)]


def _judged(run: Mapping[str, Any], deadline: float | None) -> Iterator[Verdict]:
    name, facts = run["scenario"], run.get("facts")
    if facts is None:
        yield Verdict(name, "the generator keeps up", run["fell_behind"], None)
    elif name == "stuck":
        yield from _stuck(name, facts["others"])
    elif name.startswith("hostile"):
        yield from _hostile(name, facts)
    else:
        yield from _overload(name, facts, deadline)


def _overload(name: str, facts: Mapping[str, Any], deadline: float | None) -> Iterator[Verdict]:
    goodput, p99, recovery = facts["goodput"], facts["accepted"]["p99"], facts["recovery"]
    yield Verdict(
        name, f"goodput at least {_GOODPUT * CAPACITY:g}/s", f"{goodput:.1f}/s", goodput >= _GOODPUT * CAPACITY
    )
    within = None if deadline is None else p99 is not None and p99 <= deadline * 1000
    limit = "the queue's deadline" if deadline is None else f"the queue's deadline, {deadline * 1000:g} ms"
    yield Verdict(name, f"p99 of accepted calls within {limit}", _ms(p99), within)
    first, last = facts["memory"]["first third"], facts["memory"]["last third"]
    yield Verdict(name, "memory flat: within 10 %", f"{first:g} to {last:g} MiB", last <= first * _MEMORY_GROWTH)
    said = f"not within {facts['watched_after']:g} s" if recovery is None else f"{recovery:.2f} s"
    normal = recovery is not None and recovery <= _RECOVERY_SECONDS
    yield Verdict(name, f"normal latency within {_RECOVERY_SECONDS:g} s after", said, normal)


def _hostile(name: str, facts: Mapping[str, Any]) -> Iterator[Verdict]:
    before, beside = facts["undisturbed"], facts["beside"]
    answered = bool(before["share"]) and beside["share"] >= (1 - _TOLERANCE) * before["share"]
    yield Verdict(
        name, "ordinary callers: within 20 %, answered", f"{_percent(before)} to {_percent(beside)}", answered
    )
    for share in ("p50", "p99"):
        one, other = before[share], beside[share]
        within = one is not None and other is not None and other <= (1 + _TOLERANCE) * one
        yield Verdict(name, f"ordinary callers: within 20 %, {share}", f"{_ms(one)} to {_ms(other)}", within)


def _stuck(name: str, others: Mapping[str, Any]) -> Iterator[Verdict]:
    for kind, facts in others.items():
        goes_on = facts["share"] == 1 and facts["p99"] <= _GOES_ON_MS
        measured = f"{_percent(facts)} answered, p99 {_ms(facts['p99'])}"
        yield Verdict(name, f"everybody else goes on: {kind}", measured, goes_on)


def failed(found: Sequence[Verdict]) -> list[Verdict]:
    """Return the bounds that do not hold."""
    return [verdict for verdict in found if verdict.holds is False]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"


def _percent(facts: Mapping[str, Any]) -> str:
    return "-" if facts["share"] is None else f"{facts['share']:.1%}"
