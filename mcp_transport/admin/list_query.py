"""The query of the session list, read from and written to its URL."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mcp_transport.admin.tables import LIST_COLUMNS
from mcp_transport.backends.records import NodeRecord, Page
from mcp_transport.domain.session_query import ORDERS, SessionQuery, client_of
from mcp_transport.operators.representation.sessions import STATE_LABELS

__all__ = ["PAGE_SIZE", "ListQuery", "columns", "filters"]

PAGE_SIZE: Final = 100

_DAY_SECONDS: Final = 24 * 3600
# By the value of the filter: the field of `SessionQuery` that it sets, seconds before now, and a label.
_AGES: Final = {
    "hour": ("created_after", 3600, _("opened within the last hour")),
    "day": ("created_after", _DAY_SECONDS, _("opened within the last day")),
    "over-day": ("created_before", _DAY_SECONDS, _("more than a day ago")),
    "over-week": ("created_before", 7 * _DAY_SECONDS, _("more than a week ago")),
}

_DEFAULT_ORDER: Final = "-last_seen"
_CHOICES: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "state": (_("state"), {state.value: label for state, label in STATE_LABELS.items()}),
    "age": (_("age"), {name: label for name, (_bound, _seconds, label) in _AGES.items()}),
}
_EXACT: Final = {"user": _("user"), "client": _("client"), "protocol_version": _("protocol"), "node": _("node")}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of a filtered list of sessions, in an order."""

    text: str = ""
    values: dict[str, str] = field(default_factory=dict)
    """The chosen values, by the name of the filter."""
    order: str = _DEFAULT_ORDER
    offset: int = 0

    @classmethod
    def of(cls, request: HttpRequest) -> ListQuery:
        """Read the query string of a request; ignore unknown and malformed values."""
        options = {name: str(value).replace("\0", "") for name, value in request.GET.items()}
        values = {name: options[name] for name in _EXACT if options.get(name)}
        values |= {name: options[name] for name, (_label, labels) in _CHOICES.items() if options.get(name) in labels}
        order = options.get("o", "")
        return cls(
            text=options.get("q", ""),
            values=values,
            order=order if order.removeprefix("-") in ORDERS else _DEFAULT_ORDER,
            offset=int(options["offset"]) if re.fullmatch(r"[0-9]{1,9}", options.get("offset", "")) else 0,
        )

    @property
    def query(self) -> SessionQuery:
        """Return the query for the backend, as of now."""
        criteria: dict[str, Any] = dict(self.values)
        if age := criteria.pop("age", None):
            bound, seconds, _label = _AGES[age]
            criteria[bound] = time.time() - seconds
        return SessionQuery(text=self.text, **criteria)

    @property
    def is_filtered(self) -> bool:
        """Return whether there is a search text or a filter."""
        return bool(self.text or self.values)

    @property
    def explicit_order(self) -> str:
        """Return the order, or an empty string for the default."""
        return "" if self.order == _DEFAULT_ORDER else self.order

    @property
    def link(self) -> str:
        """Return the query string of this page."""
        options = {"q": self.text, **self.values, "o": self.explicit_order, "offset": str(self.offset or "")}
        return "?" + urlencode({name: value for name, value in options.items() if value})

    @property
    def unfiltered_link(self) -> str:
        """Return the query string of the list of all sessions, in the same order."""
        return ListQuery(order=self.order).link

    def at(self, offset: int) -> ListQuery:
        """Return another page of the same list."""
        return replace(self, offset=max(0, offset))

    def by(self, order: str) -> ListQuery:
        """Return the first page of the same list in another order."""
        return replace(self, order=order, offset=0)


def columns(list_query: ListQuery) -> list[dict[str, Any]]:
    """Return the column heads, with links that order by a column, descending at first."""
    return [_head(list_query, column.name, column.label) for column in LIST_COLUMNS]


def _head(list_query: ListQuery, name: str, label: Any) -> dict[str, Any]:
    if name not in ORDERS:
        return {"name": name, "label": label, "sorted": "", "link": ""}
    directions = {f"-{name}": "descending", name: "ascending"}
    opposite = name if list_query.order == f"-{name}" else f"-{name}"
    direction = directions.get(list_query.order, "")
    return {"name": name, "label": label, "sorted": direction, "link": list_query.by(opposite).link}


def filters(list_query: ListQuery, page: Page, nodes: Iterable[NodeRecord]) -> list[dict[str, Any]]:
    """Return each filter with its options and the chosen one."""
    values: dict[str, set[str]] = {
        "user": {session.user for session in page.sessions},
        "client": {client_of(session) for session in page.sessions},
        "protocol_version": {session.protocol_version for session in page.sessions},
        "node": {session.node for session in page.sessions} | {node.name for node in nodes},
    }
    chosen = list_query.values
    exact = [
        (name, label, {value: value for value in sorted({*values[name], chosen.get(name, "")} - {""})})
        for name, label in _EXACT.items()
    ]
    choices = [(name, label, labels) for name, (label, labels) in _CHOICES.items()]
    return [
        {"name": name, "label": label, "chosen": chosen.get(name, ""), "values": list(labels.items())}
        for name, label, labels in (*choices, *exact)
    ]
