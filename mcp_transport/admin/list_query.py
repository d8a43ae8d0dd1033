"""The query of the session list, read from and written to its URL."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest

from mcp_transport.admin.tables import LIST_COLUMNS, NUMERIC
from mcp_transport.domain.metrics import TrafficSummary
from mcp_transport.domain.session_query import AGES, ORDERS, SessionQuery, State

__all__ = ["ANONYMOUS", "FAILED", "PAGE_SIZE", "ListQuery", "columns"]

PAGE_SIZE: Final = 100

ANONYMOUS: Final = "user__isempty"
"""The filter for sessions without a user, named as Django's `EmptyFieldListFilter` names it."""
FAILED: Final = "failed"
"""The filter for sessions with recent failed calls of an operation."""

_DEFAULT_ORDER: Final = "-last_seen"
_CHOICES: Final[dict[str, tuple[str, ...]]] = {"state": tuple(State), "age": tuple(AGES), ANONYMOUS: ("1",)}
_EXACT: Final = ("user", "client", "protocol_version", "node", FAILED)


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
        values |= {name: options[name] for name, valid in _CHOICES.items() if options.get(name) in valid}
        order = options.get("o", "")
        return cls(
            text=options.get("q", ""),
            values=values,
            order=order if order.removeprefix("-") in ORDERS else _DEFAULT_ORDER,
            offset=int(options["offset"]) if re.fullmatch(r"[0-9]{1,9}", options.get("offset", "")) else 0,
        )

    def query(self, traffic: TrafficSummary | None = None) -> SessionQuery:
        """Return the query for the backend, as of now; `traffic` has the failed calls to filter by."""
        criteria: dict[str, Any] = dict(self.values)
        if age := criteria.pop("age", None):
            bound, seconds = AGES[age]
            criteria[bound] = time.time() - seconds
        if criteria.pop(ANONYMOUS, None):
            criteria["anonymous"] = True
        if operation := criteria.pop(FAILED, None):
            failures = traffic.failures if traffic is not None else ()
            criteria["keys"] = frozenset(failure.key for failure in failures if failure.operation == operation)
        return SessionQuery(text=self.text, **criteria)

    @property
    def needs_traffic(self) -> bool:
        """Return whether `query` needs the failed calls."""
        return FAILED in self.values

    @property
    def is_filtered(self) -> bool:
        """Return whether there is a search text or a filter."""
        return bool(self.text or self.values)

    @property
    def explicit_order(self) -> str:
        """Return the order, or an empty string for the default."""
        return "" if self.order == _DEFAULT_ORDER else self.order

    @property
    def options(self) -> dict[str, str]:
        """Return the parameters of the URL, without the page."""
        options = {"q": self.text, **self.values, "o": self.explicit_order}
        return {name: value for name, value in options.items() if value}

    @property
    def link(self) -> str:
        """Return the query string of this page."""
        return "?" + urlencode({**self.options, **({"offset": str(self.offset)} if self.offset else {})})

    @property
    def export_link(self) -> str:
        """Return the query string of an export of the list, without the format's parameter."""
        return "?" + urlencode(self.options)

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

    def having(self, name: str, value: str) -> ListQuery:
        """Return the first page of the list with a filter set or, with an empty value, removed."""
        names = {name, ANONYMOUS, "user"} if name in ("user", ANONYMOUS) else {name}
        values = {other: chosen for other, chosen in self.values.items() if other not in names}
        return replace(self, values={**values, name: value} if value else values, offset=0)

    def having_user(self, user: str) -> ListQuery:
        """Return the list of a user's sessions or, with an empty name, of anonymous ones."""
        return self.having("user", user) if user else self.having(ANONYMOUS, "1")


def columns(list_query: ListQuery) -> list[dict[str, Any]]:
    """Return the column heads, with links that order by a column, descending at first."""
    return [_head(list_query, column.name, column.label) for column in LIST_COLUMNS]


def _head(list_query: ListQuery, name: str, label: Any) -> dict[str, Any]:
    head = {"name": name, "label": label, "sorted": "", "link": "", "is_number": name in NUMERIC}
    if name not in ORDERS:
        return head
    directions = {f"-{name}": "descending", name: "ascending"}
    opposite = name if list_query.order == f"-{name}" else f"-{name}"
    return {**head, "sorted": directions.get(list_query.order, ""), "link": list_query.by(opposite).link}
