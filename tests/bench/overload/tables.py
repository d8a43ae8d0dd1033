"""The tables of a load run, in Markdown, made of its results alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.bench.overload.server import MODES
from tests.bench.overload.verdicts import Verdict, verdicts
from tests.bench.tables import number, table

Content = Mapping[str, Any]

_MARKS = {True: "yes", False: "**no**", None: "?"}


def conditions(content: Content) -> str:
    """List the machine, the versions, the command, and what there was to protect the server."""
    protection = content["protection"]
    lines = [
        f"- Machine: {', '.join(f'{name} {value}' for name, value in content['machine'].items())}",
        f"- Versions: {', '.join(f'{name} {value}' for name, value in content['versions'].items())}",
        f"- Run: `{content['command']}` (overload for {content['seconds']:g} s, backend {content['backend']}, "
        f"calls {'in sessions' if content['dialect'] == 'session' else 'without sessions'})",
        f"- Limits: {', '.join(f'{name} {value}' for name, value in protection['defaults'].items()) or 'none'}",
        f"- Other processes used {content['others_busy']:.2f} cores when it began",
    ]
    if protection["missing"]:
        lines.append(f"- **Protection was not there**: this checkout lacks {', '.join(protection['missing'])}")
    return "\n".join(lines)


def bounds(content: Content) -> str:
    """Say which bounds hold with protection, and which would without it."""
    both = {mode: {(v.scenario, v.bound): v for v in verdicts(content, mode)} for mode in MODES}
    keys = dict.fromkeys(key for mode in MODES for key in both[mode])
    rows = [[f"{key[0]}: {key[1]}", *(_cell(both[mode].get(key)) for mode in MODES)] for key in keys]
    return table(["bound", *(f"{mode} protection" for mode in MODES)], rows)


def _cell(verdict: Verdict | None) -> str:
    return "-" if verdict is None else f"{_MARKS[verdict.holds]} ({verdict.measured})"


def overload(content: Content) -> str:
    """Show the overload in an open and in a closed loop."""
    head = ["", "undisturbed p50, p99 ms", "offered /s", "goodput /s", "accepted p50, p99 ms", "normal after s"]
    head += ["memory MiB", "not answered", "server, load waited for a core"]
    rows = [
        [
            name,
            _pair(facts["undisturbed"]),
            number(facts["offered"]),
            number(facts["goodput"], 1),
            _pair(facts["accepted"]),
            number(facts["recovery"], 1),
            " to ".join(number(facts["memory"][part]) for part in ("before", "last third")),
            _counts(facts["refusals"]),
            _starved(facts),
        ]
        for name, facts in _runs(content, "open", "closed")
    ]
    return table(head, rows)


def probes(content: Content) -> str:
    """Show what requests that cost nothing take during the overload: how late the event loop is."""
    kinds = ("ping", "tools/list", "/healthz", "add")
    rows = [
        [name, *(_probe(facts["probes"].get(kind)) for kind in kinds)]
        for name, facts in _runs(content, "open", "closed", "hostile")
    ]
    return table(["p50, p99 ms during the overload", *kinds], rows)


def hostile(content: Content) -> str:
    """Show ordinary callers, undisturbed and beside a hostile one, and what that one gets."""
    rows = [
        [
            name,
            *(_probe(facts[part]) for part in ("undisturbed", "beside")),
            _counts(facts["beside_refusals"]),
            number(facts["hostile"]["calls"]),
            _counts(facts["hostile"]["refusals"]),
            _starved(facts),
        ]
        for name, facts in _runs(content, "hostile")
    ]
    head = ["ordinary callers: p50, p99 ms", "undisturbed", "beside", "not answered"]
    return table([*head, "hostile calls", "of them not answered", "server, load waited for a core"], rows)


def stuck(content: Content) -> str:
    """Show everybody else beside calls that never return."""
    runs = [*_runs(content, "stuck")]
    kinds = dict.fromkeys(kind for _, facts in runs for kind in facts["others"])
    rows = [
        [name, *(_probe(facts["others"].get(kind)) for kind in kinds), _counts(facts["others_refusals"])]
        for name, facts in runs
    ]
    return table(["p50, p99 ms beside stuck calls", *kinds, "not answered"], rows)


def _runs(content: Content, *kinds: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for run in content["runs"]:
        if "facts" in run and run["scenario"].startswith(kinds):
            yield f"{run['scenario']}, {run['mode']}", run["facts"]


def _pair(facts: Mapping[str, Any]) -> str:
    return f"{number(facts['p50'])}, {number(facts['p99'])}"


def _probe(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "-"
    lost = "" if facts["share"] == 1 else f" ({facts['share']:.1%} answered)"
    return f"{number(facts['p50'], 1)}, {number(facts['p99'], 1)}{lost}"


def _starved(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{facts['without_core'][name]:.0%}" for name in ("server", "load"))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in counts.items()) or "0"


TABLES: Mapping[str, Callable[[Content], str]] = {
    function.__name__: function for function in (conditions, bounds, overload, probes, hostile, stuck)
}


def page(content: Content) -> str:
    """Build all tables that have rows, one below the other."""
    built = (build(content) for build in TABLES.values())
    return "\n\n".join(text for text in built if not text.endswith("--: |")) + "\n"
