"""The filters beside the session list, as Django's admin shows them: all values, with the number of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from mcp_transport.admin.list_query import ANONYMOUS, FAILED, ListQuery
from mcp_transport.backends.listing import MAX_VALUES
from mcp_transport.backends.records import Facets, NodeRecord
from mcp_transport.domain.session_query import AGES
from mcp_transport.operators.representation.fields import Label
from mcp_transport.operators.representation.sessions import STATE_LABELS

__all__ = ["Choice", "Filter", "node_label", "node_labels", "sidebar"]

_TITLES: Final[dict[str, Label]] = {
    "state": _("state"),
    "age": _("age"),
    "user": _("user"),
    "client": _("client"),
    "protocol_version": _("protocol"),
    "node": _("node"),
    FAILED: _("recent failures"),
}
_AGE_LABELS: Final[dict[str, Label]] = {
    "hour": _("opened within the last hour"),
    "day": _("opened within the last day"),
    "over-day": _("more than a day ago"),
    "over-week": _("more than a week ago"),
}
_LABELS: Final[dict[str, dict[str, Label]]] = {
    "state": {state.value: label for state, label in STATE_LABELS.items()},
    "age": _AGE_LABELS,
    "user": {"": _("anonymous")},
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a filter."""

    label: Label
    link: str
    is_selected: bool
    count: int | None = None
    """All live sessions that have the value; None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter with its values."""

    name: str
    title: Label
    choices: tuple[Choice, ...]
    has_more: bool = False
    """Are there more values than these?"""


def node_labels(nodes: Iterable[NodeRecord]) -> dict[str, str]:
    """Return the host and process of each live node, by its name."""
    return {node.name: f"{node.host}:{node.pid}" for node in nodes}


def node_label(name: str, labels: Mapping[str, str]) -> str:
    """Return how pages call a node: by host, process and name, or as one that is gone if other nodes are known."""
    if name in labels:
        return f"{labels[name]} · {name}"
    return str(_("%(node)s (gone)") % {"node": name}) if labels else name


def sidebar(list_query: ListQuery, facets: Facets, nodes: Iterable[NodeRecord]) -> list[Filter]:
    """Return each filter; one of failed calls only if it is chosen."""
    labels = node_labels(nodes)
    return [
        _filter(list_query, name, title, facets, labels)
        for name, title in _TITLES.items()
        if name != FAILED or FAILED in list_query.values
    ]


def _filter(list_query: ListQuery, name: str, title: Label, facets: Facets, labels: Mapping[str, str]) -> Filter:
    counts: dict[str, int | None] = dict.fromkeys(_offered_values(name, labels))
    counts |= dict(facets.get(name, ()))
    is_anonymous = name == "user" and ANONYMOUS in list_query.values
    chosen = "" if is_anonymous else list_query.values.get(name)
    if chosen is not None:
        counts.setdefault(chosen, None)
    everything = Choice(_("All"), list_query.having(name, "").link, chosen is None)
    choices = [
        Choice(_label(name, value, labels), _link(list_query, name, value), chosen == value, count)
        for value, count in counts.items()
    ]
    return Filter(name, title, (everything, *choices), len(facets.get(name, ())) >= MAX_VALUES)


def _offered_values(name: str, labels: Mapping[str, str]) -> Iterable[str]:
    """Return the values that are offered even if no session has them."""
    return {"state": tuple(map(str, STATE_LABELS)), "age": tuple(AGES), "node": tuple(labels)}.get(name, ())


def _link(list_query: ListQuery, name: str, value: str) -> str:
    return (list_query.having_user(value) if name == "user" else list_query.having(name, value)).link


def _label(name: str, value: str, labels: Mapping[str, str]) -> Any:
    if name == "node":
        return node_label(value, labels)
    return _LABELS.get(name, {}).get(value, value)
