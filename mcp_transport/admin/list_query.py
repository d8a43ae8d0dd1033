"""What a list of sessions is asked for, as its address says it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mcp_transport.backends.base import NodeRecord, Page
from mcp_transport.domain.session_query import EVERYTHING, ORDERS, SessionQuery, State, client_of

__all__ = ["PAGE", "STATES", "ListQuery", "columns", "filters"]

PAGE: Final = 100

STATES: Final = {
    State.BUSY: _("busy"),
    State.OPENING: _("opening"),
    State.ACTIVE: _("active"),
    State.IDLE: _("idle"),
}

_DAY: Final = 24 * 3600
# The bound of `SessionQuery` that each age stands for, and seconds before now.
_AGES: Final = {
    "hour": ("created_after", 3600, _("opened within the last hour")),
    "day": ("created_after", _DAY, _("opened within the last day")),
    "over-day": ("created_before", _DAY, _("more than a day ago")),
    "over-week": ("created_before", 7 * _DAY, _("more than a week ago")),
}

_NEWEST: Final = "-last_seen"
_CHOICES: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "state": (_("state"), {state.value: label for state, label in STATES.items()}),
    "age": (_("age"), {name: label for name, (_bound, _seconds, label) in _AGES.items()}),
}
_FOUND: Final = {"user": _("user"), "client": _("client"), "protocol_version": _("protocol"), "node": _("node")}
_COLUMNS: Final = (
    ("", _("Id")),
    ("", _("Client")),
    ("", _("Protocol")),
    ("", _("User")),
    ("", _("Node")),
    ("created", _("Created")),
    ("last_seen", _("Last seen")),
    ("requests", _("Requests")),
    ("errors", _("Errors")),
    ("", _("Streams")),
    ("", _("Calls")),
    ("", _("State")),
)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of the sessions that are asked for, in an order."""

    text: str = ""
    values: dict[str, str] = field(default_factory=dict)
    """What is chosen, by the name of the filter."""
    order: str = _NEWEST
    offset: int = 0

    @classmethod
    def of(cls, request: HttpRequest) -> ListQuery:
        """Read an address; what means nothing does not matter."""
        given = {name: str(value).replace("\0", "") for name, value in request.GET.items()}
        values = {name: given[name] for name in _FOUND if given.get(name)}
        values |= {name: given[name] for name, (_label, known) in _CHOICES.items() if given.get(name) in known}
        order = given.get("o", "")
        return cls(
            text=given.get("q", ""),
            values=values,
            order=order if order.removeprefix("-") in ORDERS else _NEWEST,
            offset=int(given["offset"]) if re.fullmatch(r"[0-9]{1,9}", given.get("offset", "")) else 0,
        )

    @property
    def query(self) -> SessionQuery:
        """Return what the backend is asked, as of now."""
        changes: dict[str, Any] = {name: value for name, value in self.values.items() if name != "age"}
        query = replace(EVERYTHING, text=self.text, **changes)
        if "age" not in self.values:
            return query
        bound, seconds, _label = _AGES[self.values["age"]]
        limit: dict[str, Any] = {bound: time.time() - seconds}
        return replace(query, **limit)

    @property
    def is_narrow(self) -> bool:
        """Tell whether some sessions are left out."""
        return bool(self.text or self.values)

    @property
    def order_given(self) -> str:
        """Return the order, unless it is the usual one."""
        return "" if self.order == _NEWEST else self.order

    @property
    def link(self) -> str:
        """Return the part of an address that asks for this."""
        told = {"q": self.text, **self.values, "o": self.order_given, "offset": str(self.offset or "")}
        return "?" + urlencode({name: value for name, value in told.items() if value})

    @property
    def everything(self) -> str:
        """Return the part of an address that asks for all sessions, in the same order."""
        return ListQuery(order=self.order).link

    def at(self, offset: int) -> ListQuery:
        """Return another page of the same."""
        return replace(self, offset=max(0, offset))

    def by(self, order: str) -> ListQuery:
        """Return the first page of the same in another order."""
        return replace(self, order=order, offset=0)


def columns(asked: ListQuery) -> list[dict[str, Any]]:
    """Return the heads of a list, with links to its other orders; the first time, the greatest come first."""
    return [
        {
            "name": name,
            "label": label,
            "sorted": ("descending" if asked.order == f"-{name}" else "ascending")
            if name and asked.order.removeprefix("-") == name
            else "",
            "link": asked.by(name if asked.order == f"-{name}" else f"-{name}").link if name else "",
        }
        for name, label in _COLUMNS
    ]


def filters(asked: ListQuery, page: Page, nodes: Iterable[NodeRecord]) -> list[dict[str, Any]]:
    """Return, for each filter, what can be chosen, and what is."""
    seen: dict[str, set[str]] = {
        "user": {session.user for session in page.sessions},
        "client": {client_of(session) for session in page.sessions},
        "protocol_version": {session.protocol_version for session in page.sessions},
        "node": {session.node for session in page.sessions} | {node.name for node in nodes},
    }
    found = [
        (name, label, {value: value for value in sorted({*seen[name], asked.values.get(name, "")} - {""})})
        for name, label in _FOUND.items()
    ]
    chosen = [(name, label, known) for name, (label, known) in _CHOICES.items()]
    return [
        {"name": name, "label": label, "chosen": asked.values.get(name, ""), "values": list(known.items())}
        for name, label, known in (*chosen, *found)
    ]
