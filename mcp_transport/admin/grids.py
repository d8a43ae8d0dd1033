"""Tables of the dashboard, whose cells can be numbers, links and badges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from mcp_transport.operators.representation.fields import Field

__all__ = ["Cell", "Column", "Grid", "cells", "columns_of", "detail_grid"]

_R = TypeVar("_R")

# By their JSON Schema, which the kinds of numbers share.
_NUMBERS: Final = ("integer", "number")


@dataclass(slots=True)
class Column:
    """A column's head."""

    name: str
    label: str
    is_number: bool = False
    link: str = ""
    """Sorts the table by this column."""
    sorted: str = ""
    """"ascending", "descending" or empty, as in `aria-sort`."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, with a link or as a badge."""

    text: str
    link: str = ""
    badge: str = ""
    """The name of the badge's color; empty for none."""
    is_number: bool = False
    action: str = ""
    """The name of a link that looks like a button, for those who cannot see its row."""

    def to_json(self) -> dict[str, Any]:
        """Return the cell for the page's script, without empty members."""
        members = {"text": self.text, "link": self.link, "badge": self.badge, "action": self.action}
        filled: dict[str, Any] = {name: value for name, value in members.items() if value}
        return {**filled, "number": True} if self.is_number else filled


@dataclass(slots=True, kw_only=True)
class Grid:
    """A table; the first cell of each row is its header."""

    name: str
    title: str
    columns: list[Column] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
    is_wide: bool = False
    """Does it span the page?"""


def _is_number(item: Field[Any]) -> bool:
    types = item.kind.schema.get("type", "")
    return any(name in (types if isinstance(types, list) else [types]) for name in _NUMBERS)


def columns_of(fields: Iterable[Field[Any]]) -> list[Column]:
    """Return the heads of the columns of fields."""
    return [Column(item.name, str(item.label), _is_number(item)) for item in fields]


def cells(fields: Iterable[Field[_R]], record: _R, links: Mapping[str, str] | None = None) -> list[Cell]:
    """Return the row of a record; `links` has those of some fields, by name."""
    return [
        Cell(item.text(record), link=(links or {}).get(item.name, ""), is_number=_is_number(item)) for item in fields
    ]


def detail_grid(name: str, title: str, rows: Iterable[Sequence[str]]) -> Grid:
    """Return a table of names and values, without column heads."""
    return Grid(name=name, title=title, rows=[[Cell(label), Cell(text)] for label, text in rows])
