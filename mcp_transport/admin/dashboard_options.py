"""What a dashboard shows, read from its URL and from what its user may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from django.apps import apps
from django.utils.translation import gettext_lazy as _

from mcp_transport.domain.metrics import INTERVAL_SECONDS, MAX_INTERVALS
from mcp_transport.domain.traffic_history import RANGES
from mcp_transport.operators.representation.fields import Label

__all__ = ["RANGE_LABELS", "SORTS", "DashboardOptions", "may_drain"]

_SHORTEST: Final = "5m"
RANGE_LABELS: Final[dict[str, Label]] = {
    _SHORTEST: _("5 minutes"),
    "1h": _("1 hour"),
    "24h": _("24 hours"),
}
SORTS: Final = ("calls", "calls_per_second", "errors", "error_rate", "p50", "p95", "max")
"""The columns that the table of operations can be sorted by."""

_AUDIT: Final = "mcp_transport.contrib.audit"


def may_drain(user: Any) -> bool:
    """Return whether a user may drain nodes."""
    return bool(user.is_active and user.is_staff and user.has_perm("mcp_transport.drain_mcp_nodes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardOptions:
    """The range of the charts, the order of operations, and which links are shown."""

    range: str = _SHORTEST
    sort: str = ""
    """One of `SORTS`, descending with a "-" prefix; empty for tools first, by the number of calls."""
    may_drain: bool = False
    may_see_audit: bool = False

    @classmethod
    def of(cls, user: Any, query: Mapping[str, str]) -> DashboardOptions:
        """Read a query string; ignore unknown values."""
        chosen, sort = str(query.get("range", "")), str(query.get("sort", ""))
        return cls(
            range=chosen if chosen in RANGES else _SHORTEST,
            sort=sort if sort.removeprefix("-") in SORTS else "",
            may_drain=may_drain(user),
            may_see_audit=apps.is_installed(_AUDIT) and user.has_perm("mcp_audit.view_auditentry"),
        )

    @property
    def seconds(self) -> float:
        """Return the length of the range."""
        if self.range in RANGES:
            return RANGES[self.range].seconds * RANGES[self.range].samples
        return INTERVAL_SECONDS * MAX_INTERVALS

    @property
    def range_label(self) -> Label:
        """Return the name of the range."""
        return RANGE_LABELS[self.range]

    @property
    def link(self) -> str:
        """Return the query string of this dashboard."""
        options = {"range": "" if self.range == _SHORTEST else self.range, "sort": self.sort}
        return "?" + urlencode({name: value for name, value in options.items() if value})

    def with_range(self, name: str) -> DashboardOptions:
        """Return the same with another range."""
        return replace(self, range=name)

    def sorted_by(self, sort: str) -> DashboardOptions:
        """Return the same in another order."""
        return replace(self, sort=sort)
