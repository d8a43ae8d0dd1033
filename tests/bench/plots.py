"""The plots of docs/explanation/performance.md, as SVG that is the same for the same results."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from pathlib import Path

import matplotlib

from tests.bench.results import Results
from tests.bench.servers import Server
from tests.bench.tables import NEW, OLD

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "bench",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

from matplotlib import pyplot  # noqa: E402 (after the backend is chosen)
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402

_COLOURS: Mapping[str, str] = {"limit": "#8c8c8c", "django": "#c4a000", "ours": "#0b7285", "peer": "#b0413e"}
_KINDS: Mapping[str, str] = {"limit": "limit", "django": "bare Django", "ours": "this package", "peer": "peer"}


def draw(results: Results, folder: Path) -> None:
    """Draw all plots into a folder."""
    for name, figure in {"calls": calls, "clients": clients, "transports": transports}.items():
        drawn = figure(results)
        drawn.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        pyplot.close(drawn)


def calls(results: Results) -> Figure:
    """Draw bars of calls in a session and without one; the limit, far off, is left to the table."""
    servers = results.servers("session", "alone", only=lambda server: server.kind != "limit")[::-1]
    figure, axes = pyplot.subplots(1, 2, sharey=True, figsize=(9, 0.5 + 0.26 * len(servers)), layout="constrained")
    for axis, workload, title in zip(axes, ("session", "alone"), ("in a session", "without one"), strict=True):
        rates = [results.get(server.name, workload, "rate") or 0 for server in servers]
        axis.barh([server.title for server in servers], rates, color=[_COLOURS[server.kind] for server in servers])
        axis.set_title(f"tools/call {title}, calls/s")
        axis.xaxis.set_major_formatter("{x:,.0f}")
    handles = [Rectangle((0, 0), 1, 1, color=_COLOURS[kind]) for kind in ("django", "ours", "peer")]
    figure.legend(handles, [_KINDS[kind] for kind in ("django", "ours", "peer")], loc="outside lower center", ncols=3)
    return figure


def clients(results: Results) -> Figure:
    """Draw calls against the number of clients."""
    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    _lines(axis, results, results.servers("clients", only=lambda server: server.kind != "limit"), "rate")
    axis.set_title("calls/s")
    axis.legend(fontsize=8)
    return figure


def transports(results: Results) -> Figure:
    """Draw what Streamable HTTP and HTTP+SSE do with rising numbers of clients."""
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), layout="constrained")
    servers = results.servers("clients", only=lambda server: server.name in (OLD, *NEW))
    facts = {
        "rate": "calls/s",
        "visits": "visits/s: connect, handshake, one call",
        "connections": "connections while calling",
        "resting": "connections while resting",
    }
    for axis, (fact, title) in zip(axes.flat, facts.items(), strict=True):
        _lines(axis, results, servers, fact)
        axis.set_title(title)
    axes.flat[0].legend(fontsize=8)
    return figure


def _lines(axis: Axes, results: Results, servers: list[Server], fact: str) -> None:
    counts = results.counts("clients", f" {fact}")
    for number, server in enumerate(servers):
        values = [results.get(server.name, "clients", f"{count} {fact}") or nan for count in counts]
        style = "-" if server.kind == "ours" else "--"
        axis.plot(counts, values, style, marker="o", markersize=3, color=f"C{number}", label=server.title)
    axis.set_xscale("log", base=4)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_xlabel("clients")
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.set_ylim(bottom=0)
