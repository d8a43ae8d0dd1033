"""The dashboard: all sessions, traffic and nodes, in tables of text and points of charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from mcp_transport.admin.dashboard_options import SORTS, DashboardOptions
from mcp_transport.admin.grids import Cell, Column, Grid, cells, columns_of, detail_grid
from mcp_transport.admin.list_query import ANONYMOUS, FAILED
from mcp_transport.admin.sidebar import node_label, node_labels
from mcp_transport.backends.listing import MAX_COMMON_VALUES
from mcp_transport.backends.records import NodeRecord, Overview
from mcp_transport.domain.metrics import Point, TrafficSummary
from mcp_transport.domain.session import short_id
from mcp_transport.operators.representation import formats
from mcp_transport.operators.representation.fields import Table, pick
from mcp_transport.operators.representation.metrics import (
    NODE,
    OPERATION_COLUMNS,
    POINT,
    REFUSED,
    TRAFFIC,
    CallsOf,
    breakdown_tables,
    breaker_table,
    operations_of,
    overview_rows,
    traffic_rows,
)

__all__ = ["Dashboard", "to_json"]

_MAX_FAILURES: Final = 20
"""How many of the latest failed calls are listed."""
_TOOL: Final = "tools/call "

# By the name of a field of the overview, that of the list's filter.
_FILTERS: Final = {"clients": "client", "users": "user"}
_REVISION: Final = "protocol_version"

# From the dashboard's own address, since updates do not know that of the admin.
_LIST: Final = "../"
_AUDIT: Final = "../../../mcp_audit/auditentry/"


def _list_link(**values: str) -> str:
    return f"{_LIST}?{urlencode(values)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A summary of sessions, traffic and nodes."""

    overview: Overview | None
    """None if the backend cannot list sessions."""
    traffic: TrafficSummary
    nodes: tuple[NodeRecord, ...]
    options: DashboardOptions = field(default_factory=DashboardOptions)

    def grids(self) -> tuple[Grid, ...]:
        """Return the tables but that of circuit breakers, in the order of the page."""
        rows = traffic_rows(self.traffic)
        if self.overview is not None:
            rows = [*overview_rows(self.overview), *rows]
        return (
            self._operations(),
            self._nodes(),
            self._revisions(),
            detail_grid("summary", _("At a glance"), rows),
            self._failures(),
            *self._breakdowns(),
            self._refused(),
            self._points(),
        )

    def breakers(self) -> Table:
        """Return the table of circuit breakers, each of which has a button."""
        return breaker_table(self.traffic)

    def points(self) -> list[list[float]]:
        """Return the charts' points, the oldest first: seconds, calls, milliseconds, errors and streams."""
        return [[-item.age, item.calls, item.p95 * 1000, item.errors, item.streams] for item in self._range_points]

    @property
    def _range_points(self) -> tuple[Point, ...]:
        return self.traffic.history.get(self.options.range, self.traffic.points)

    # -- traffic -------------------------------------------------------------------------------------

    def _operations(self) -> Grid:
        operations = self._sorted_operations()
        failed = {failure.operation for failure in self.traffic.failures} if self.overview is not None else set()
        columns = [self._sortable(column) for column in columns_of(OPERATION_COLUMNS)]
        rows = [cells(OPERATION_COLUMNS, item, self._operation_links(item, failed)) for item in operations]
        if self.options.may_see_audit:
            columns.append(Column("audit", _("Audit log")))
            rows = [[*row, self._audit_cell(item)] for row, item in zip(rows, operations, strict=True)]
        title = _("Calls by operation, within five minutes")
        return Grid(name="operations", title=title, columns=columns, rows=rows, is_wide=True)

    def _sorted_operations(self) -> list[CallsOf]:
        operations, sort = operations_of(self.traffic), self.options.sort
        if not sort:
            return sorted(operations, key=lambda item: not item.operation.startswith(_TOOL))
        [by] = pick(OPERATION_COLUMNS, sort.removeprefix("-"))
        return sorted(operations, key=lambda item: by.read(item) or 0, reverse=sort.startswith("-"))

    def _sortable(self, column: Column) -> Column:
        if column.name not in SORTS:
            return column
        directions = {f"-{column.name}": "descending", column.name: "ascending"}
        opposite = column.name if self.options.sort == f"-{column.name}" else f"-{column.name}"
        column.link = self.options.sorted_by(opposite).link
        column.sorted = directions.get(self.options.sort, "")
        return column

    def _operation_links(self, item: CallsOf, failed: Iterable[str]) -> Mapping[str, str]:
        has_sessions = item.calls.errors and item.operation in failed
        return {"errors": _list_link(**{FAILED: item.operation})} if has_sessions else {}

    def _audit_cell(self, item: CallsOf) -> Cell:
        if not item.operation.startswith(_TOOL):
            return Cell("-")
        values = {"event__exact": "tool_called", "name": item.operation.removeprefix(_TOOL)}
        if item.calls.errors:
            return Cell(_("failed calls"), link=f"{_AUDIT}?{urlencode({**values, 'outcome__exact': 'error'})}")
        return Cell(_("calls"), link=f"{_AUDIT}?{urlencode(values)}")

    def _failures(self) -> Grid:
        rows = [
            [
                Cell(failure.operation, link=_list_link(**{FAILED: failure.operation}) if self.overview else ""),
                Cell(short_id(failure.key), link=f"{_LIST}{failure.key}/change/"),
                Cell(formats.seconds_ago(round(failure.age)), is_number=True),
            ]
            for failure in self.traffic.failures[:_MAX_FAILURES]
        ]
        columns = [Column("operation", _("Operation")), Column("session", _("Session"))]
        columns.append(Column("age", _("Latest failure"), is_number=True))
        return Grid(name="failures", title=_("Recent failed calls"), columns=columns, rows=rows)

    def _refused(self) -> Grid:
        [refused] = pick(TRAFFIC, "refused")
        rows = [cells(REFUSED, item) for item in refused.read(self.traffic)]
        return Grid(name="refused", title=_("Refused requests"), columns=columns_of(REFUSED), rows=rows)

    def _revisions(self) -> Grid:
        sessions = dict(self.overview.values.get(_REVISION, ())) if self.overview is not None else {}
        calls = dict(self.traffic.versions)
        columns = [Column("value", _("Revision"))]
        if self.overview is not None:
            columns.append(Column("sessions", pgettext("of clients", "Sessions"), is_number=True))
        columns += [
            Column("calls", _("Calls"), is_number=True),
            Column("rate", _("Calls per second"), is_number=True),
        ]
        rows = []
        for name in sorted({*sessions, *calls}):
            count, rate = calls.get(name, 0), formats.number(self.traffic.rate(calls.get(name, 0)), 2)
            row = _counted(_REVISION, name, sessions.get(name, 0)) if self.overview is not None else [Cell(name)]
            rows.append([*row, Cell(formats.number(count), is_number=True), Cell(rate, is_number=True)])
        title = _("Sessions and calls by protocol revision")
        return Grid(name="revisions", title=title, columns=columns, rows=rows, is_wide=True)

    def _points(self) -> Grid:
        title = _("The last %(range)s in numbers") % {"range": self.options.range_label}
        rows = [cells(POINT, item) for item in reversed(self._range_points)]
        return Grid(name="points", title=title, columns=columns_of(POINT), rows=rows, is_wide=True)

    # -- sessions and nodes --------------------------------------------------------------------------

    def _breakdowns(self) -> Iterable[Grid]:
        if self.overview is None:
            return
        for table in breakdown_tables(self.overview, *_FILTERS):
            name = _FILTERS[table.name.removeprefix("by-")]
            rows = [_counted(name, *item) for item in self.overview.values.get(name, ())]
            columns = [Column("value", table.columns[0]), Column("sessions", table.columns[1], is_number=True)]
            yield Grid(name=table.name, title=table.title, columns=columns, rows=rows)

    def _nodes(self) -> Grid:
        sessions = dict(self.overview.values.get("node", ())) if self.overview is not None else None
        labels = node_labels(self.nodes)
        fields = pick(NODE, "calls", "waiting", "threads", "lost_threads", "age")
        columns = [Column("name", _("Node")), Column("state", _("State"))]
        columns += [Column("drain", _("Action"))] if self.options.may_drain else []
        columns += (
            [Column("sessions", pgettext("of clients", "Sessions"), is_number=True)] if sessions is not None else []
        )
        columns += columns_of(fields)
        rows = []
        drains = self.options.may_drain
        for node in self.nodes:
            state = Cell(_("draining"), badge="draining") if node.draining else Cell(_("live"), badge="live")
            row = [Cell(node_label(node.name, labels)), state, *([_drain_cell(node)] if drains else [])]
            rows.append([*row, *_sessions_of(node.name, sessions), *cells(fields, node)])
        for name in [name for name in sessions or () if self.nodes and name not in labels]:
            row = [Cell(name), Cell(_("gone"), badge="gone"), *([Cell("-")] if drains else [])]
            row += _sessions_of(name, sessions)
            rows.append([*row, *[Cell("-", is_number=True)] * (len(columns) - len(row))])
        return Grid(name="nodes", title=_("Nodes"), columns=columns, rows=rows, is_wide=True)


def _counted(name: str, value: str, count: int) -> list[Cell]:
    """Return a value and the number of its sessions, with a link to them."""
    if value or name != "user":
        link, label = _list_link(**{name: value}) if value and count else "", value or "-"
    else:
        link, label = _list_link(**{ANONYMOUS: "1"}), _("anonymous")
    return [Cell(label, link=link), Cell(formats.number(count), is_number=True)]


def _sessions_of(node: str, sessions: Mapping[str, int] | None) -> list[Cell]:
    if sessions is None:
        return []
    if node not in sessions and len(sessions) >= MAX_COMMON_VALUES:
        return [Cell("-", is_number=True)]  # it is not among the nodes with most sessions
    count = sessions.get(node, 0)
    return [Cell(formats.number(count), link=_list_link(node=node) if count else "", is_number=True)]


def _drain_cell(node: NodeRecord) -> Cell:
    if node.draining:
        return Cell("-")
    label = _("Drain %(node)s") % {"node": f"{node.host}:{node.pid}"}
    return Cell(_("Drain"), link=f"drain/?{urlencode({'node': node.name})}", action=str(label))


def to_json(grids: Iterable[Grid]) -> dict[str, Any]:
    """Return the rows of tables, by their name."""
    return {grid.name: [[cell.to_json() for cell in row] for row in grid.rows] for grid in grids}
