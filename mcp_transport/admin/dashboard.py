"""What the dashboard shows: all sessions and all traffic, in tables of text and points for charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from mcp_transport.admin.tables import Table, duration, yes_or_no
from mcp_transport.backends.base import NodeRecord, Overview
from mcp_transport.domain.metrics import Histogram, TrafficSummary

__all__ = ["Dashboard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """What is known of sessions, of traffic and of nodes."""

    overview: Overview | None
    """None where the backend cannot list sessions."""
    traffic: TrafficSummary
    nodes: tuple[NodeRecord, ...]

    def tables(self) -> tuple[Table, ...]:
        """Return the tables, as text."""
        return (
            Table(name="facts", title=_("At a glance"), rows=[*self._sessions(), *self._calls()]),
            *self._counted(),
            _by_operation(self.traffic),
            _by_revision(self.traffic),
            _refused(self.traffic.refused),
            _nodes(self.nodes),
            _points(self.traffic),
        )

    def points(self) -> list[list[float]]:
        """Return what the charts draw: seconds, calls, milliseconds, errors and streams; the oldest first."""
        return [
            [-point.age, point.calls, point.p95 * 1000, point.errors, point.streams] for point in self.traffic.points
        ]

    def _sessions(self) -> list[list[str]]:
        known = self.overview
        if known is None:
            return []
        sampled = ngettext("of %(count)d session", "of %(count)d sessions", known.sampled) % {"count": known.sampled}
        rows = [
            [_("Sessions"), number_format(known.total)],
            [_("New sessions within a minute"), number_format(known.opened)],
            [_("Average duration"), f"{duration(known.mean_duration)} ({sampled})"],
            [_("Median duration"), f"{duration(known.median_duration)} ({sampled})"],
        ]
        return [*rows, [_("Memory of the store"), _memory(known)]] if known.memory else rows

    def _calls(self) -> list[list[str]]:
        traffic, total = self.traffic, self.traffic.total
        counted = ngettext(
            "%(count)d process, over %(seconds)d seconds",
            "%(count)d processes, over %(seconds)d seconds",
            traffic.processes,
        )
        return [
            [_("Calls per second"), _rounded(traffic.rate(total.calls), 2)],
            [_("Duration of calls (p95)"), _milliseconds(total)],
            [_("Calls that fail"), _share(total)],
            [_("Counted by"), counted % {"count": traffic.processes, "seconds": traffic.seconds}],
        ]

    def _counted(self) -> list[Table]:
        """Return how many sessions have each of the commonest values."""
        kinds = {
            "node": (_("Sessions by node"), _("Node")),
            "client": (_("Sessions by client"), _("Client")),
            "protocol_version": (_("Sessions by protocol revision"), _("Revision")),
        }
        values = self.overview.values if self.overview else {}
        return [
            Table(
                name=f"by-{kind}",
                title=title,
                columns=(column, _("Sessions")),
                rows=[[value or "-", number_format(count)] for value, count in values.get(kind, ())],
            )
            for kind, (title, column) in kinds.items()
            if self.overview
        ]


def _rounded(value: float, digits: int) -> str:
    return number_format(round(value, digits), digits)  # by itself, that one cuts


def _memory(known: Overview) -> str:
    if not known.memory_limit:
        return filesizeformat(known.memory)
    sizes = {"used": filesizeformat(known.memory), "limit": filesizeformat(known.memory_limit)}
    return _("%(used)s of %(limit)s") % sizes


def _milliseconds(tally: Histogram) -> str:
    return _("%(count)s ms") % {"count": _rounded(tally.percentile(0.95) * 1000, 1)} if tally.calls else "-"


def _share(tally: Histogram) -> str:
    return f"{_rounded(100 * tally.errors / tally.calls, 1)} %" if tally.calls else "-"


def _by_operation(traffic: TrafficSummary) -> Table:
    """Return the traffic of each operation: those of tools first, the most called first."""
    named = sorted(traffic.operations.items(), key=lambda item: not item[0].startswith("tools/call"))
    rows = [
        [
            name,
            number_format(tally.calls),
            _rounded(traffic.rate(tally.calls), 2),
            _milliseconds(tally),
            _share(tally),
        ]
        for name, tally in named
    ]
    columns = (_("Operation"), _("Calls"), _("Per second"), _("p95"), _("Errors"))
    return Table(name="operations", title=_("Calls by operation"), columns=columns, rows=rows)


def _by_revision(traffic: TrafficSummary) -> Table:
    rows = [
        [version or "-", number_format(count), _rounded(traffic.rate(count), 2)]
        for version, count in traffic.versions.items()
    ]
    columns = (_("Revision"), _("Calls"), _("Per second"))
    return Table(name="revisions", title=_("Calls by protocol revision"), columns=columns, rows=rows)


def _refused(refused: Mapping[str, int]) -> Table:
    meanings: dict[str, Any] = {
        "401": _("401: not authenticated"),
        "403": _("403: not allowed"),
        "404": _("404: no such session"),
        "406": _("406: answer not acceptable"),
        "413": _("413: too large"),
        "415": _("415: not JSON"),
        "429": _("429: too many requests"),
        "503": _("503: not available"),
        "room": _("Sessions that made room for new ones"),
    }
    rows = [[meanings.get(reason, reason), number_format(count)] for reason, count in refused.items()]
    return Table(name="refused", title=_("Refused"), columns=(_("Reason"), _("Requests")), rows=rows)


def _nodes(nodes: Iterable[NodeRecord]) -> Table:
    rows = [
        [
            node.name,
            node.host,
            str(node.pid),
            str(node.calls),
            _("%(count)s s") % {"count": _rounded(node.age, 1)},
            yes_or_no(node.draining),
        ]
        for node in nodes
    ]
    columns = (_("Node"), _("Host"), _("Process"), _("Calls"), _("Lease renewed ago"), _("Draining"))
    return Table(name="nodes", title=_("Nodes"), columns=columns, rows=rows)


def _points(traffic: TrafficSummary) -> Table:
    rows = [
        [
            _rounded(point.age, 0),
            _rounded(point.calls, 1),
            _rounded(point.p95 * 1000, 1),
            _rounded(point.errors, 1),
            str(point.streams),
        ]
        for point in reversed(traffic.points)
    ]
    columns = (_("Seconds ago"), _("Calls per second"), _("p95, ms"), _("Errors per second"), _("Streams"))
    return Table(name="points", title=_("The last five minutes in numbers"), columns=columns, rows=rows)
