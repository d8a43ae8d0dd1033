"""The plots of a load run, as SVG that is the same for the same results."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench import plots as _style  # noqa: F401 (sets matplotlib up)
from tests.bench.overload.server import MODES
from tests.bench.overload.tables import Content

_COLOURS: Mapping[str, str] = {"with": "#0b7285", "without": "#b0413e"}


def draw(content: Content, folder: Path) -> None:
    """Draw a plot of each scenario that was measured over time into a folder."""
    for scenario in dict.fromkeys(run["scenario"] for run in content["runs"]):
        runs = {
            run["mode"]: run["facts"]
            for run in content["runs"]
            if run["scenario"] == scenario and "series" in run.get("facts", {})
        }
        if not runs:
            continue
        drawn = hostile(runs) if scenario.startswith("hostile") else overload(runs)
        drawn.savefig(folder / f"{scenario}.svg", metadata={"Date": None, "Creator": None})
        pyplot.close(drawn)


def overload(runs: Mapping[str, Any]) -> Figure:
    """Draw goodput, latency, the event loop's latency and memory, second by second."""
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), sharex=True, layout="constrained")
    titles = [
        "goodput, calls/s",
        "p99 of accepted calls, ms",
        "p99 of ping, lists, health and add, ms",
        "memory, MiB",
    ]
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title)
    for mode, facts in _modes(runs):
        series = facts["series"]
        _line(axes.flat[0], series["calls"]["good"], mode)
        _line(axes.flat[1], series["calls"]["p99"], mode)
        _line(axes.flat[2], series["probes"]["p99"], mode)
        times, sizes = zip(*series["memory"], strict=True)
        axes.flat[3].plot(times, sizes, color=_COLOURS[mode])
        for axis in axes.flat:
            axis.axvspan(series["begins"], series["ends"], color="#8c8c8c", alpha=0.08)
    _finish(figure, axes)
    return figure


def hostile(runs: Mapping[str, Any]) -> Figure:
    """Draw what ordinary callers get, undisturbed and beside a hostile one."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharex=True, layout="constrained")
    axes[0].set_title("ordinary callers: answered calls/s")
    axes[1].set_title("ordinary callers: p99, ms")
    for mode, facts in _modes(runs):
        series = facts["series"]
        _line(axes[0], series["ordinary"]["good"], mode)
        _line(axes[1], series["ordinary"]["p99"], mode)
        for axis in axes:
            axis.axvline(series["begins"], color="#8c8c8c", linestyle=":")
    _finish(figure, axes)
    return figure


def _modes(runs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(mode, runs[mode]) for mode in MODES if mode in runs]


def _line(axis: Axes, values: list[float | None], mode: str) -> None:
    drawn = [nan if value is None else value for value in values]
    axis.plot([second + 0.5 for second in range(len(drawn))], drawn, color=_COLOURS[mode], label=f"{mode} protection")


def _finish(figure: Figure, axes: Any) -> None:
    for axis in axes.flat:
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter("{x:,.0f}")
    for axis in axes[-1] if axes.ndim > 1 else axes:
        axis.set_xlabel("seconds")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
