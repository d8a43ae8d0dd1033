"""The dashboard: all sessions, traffic and nodes, in tables of text and points of charts."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from mcp_transport.backends.records import NodeRecord, Overview
from mcp_transport.domain.metrics import TrafficSummary
from mcp_transport.operators.representation.fields import Table
from mcp_transport.operators.representation.metrics import (
    breakdown_tables,
    breaker_table,
    node_table,
    overview_rows,
    traffic_rows,
    traffic_tables,
)

__all__ = ["Dashboard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A summary of sessions, traffic and nodes."""

    overview: Overview | None
    """None if the backend cannot list sessions."""
    traffic: TrafficSummary
    nodes: tuple[NodeRecord, ...]

    def tables(self) -> tuple[Table, ...]:
        """Return the tables, in the order of the page."""
        rows, breakdowns = traffic_rows(self.traffic), tuple[Table, ...]()
        if self.overview is not None:
            rows = [*overview_rows(self.overview), *rows]
            breakdowns = tuple(breakdown_tables(self.overview, "nodes", "clients", "protocols"))
        *traffic, points = traffic_tables(self.traffic)
        return (
            Table(name="summary", title=_("At a glance"), rows=rows),
            *breakdowns,
            *traffic,
            breaker_table(self.traffic),
            node_table(self.nodes),
            points,
        )

    def points(self) -> list[list[float]]:
        """Return the charts' points, the oldest first: seconds, calls, milliseconds, errors and streams."""
        return [[-item.age, item.calls, item.p95 * 1000, item.errors, item.streams] for item in self.traffic.points]
