"""A field has a name in JSON, a label in tables, a value, and a kind: its JSON Schema and how people read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from django.utils.functional import Promise

from mcp_transport.operators.representation import formats, kinds
from mcp_transport.operators.representation.kinds import TEXT, TIME, Kind, Schema

__all__ = ["Field", "Label", "Table", "detail_rows", "object_schema", "pick", "records", "table", "to_json"]

Label = str | Promise
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Field(Generic[_R]):
    """A field of a record."""

    name: str
    label: Label
    kind: Kind = TEXT
    value: Callable[[_R], Any] | None = None
    """Reads the value; without it, the value is the attribute called `name`."""
    note: str = ""
    """The description in the OpenAPI document."""

    @property
    def schema(self) -> Schema:
        """Return the JSON Schema of the value."""
        return {**self.kind.schema, "description": self.note} if self.note else self.kind.schema

    def read(self, record: _R) -> Any:
        """Return the value itself."""
        return getattr(record, self.name) if self.value is None else self.value(record)

    def text(self, record: _R, write_time: Callable[[float], str] = formats.utc_time) -> str:
        """Return the value as a table shows it."""
        value = self.read(record)
        if value is None:
            return "-"
        return (write_time(value) if self.kind is TIME else self.kind.text(value)) or "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text; the first cell of each row is its header."""

    name: str
    title: str
    columns: tuple[str, ...] = ()
    rows: list[list[str]] = field(default_factory=list)


# -- JSON ------------------------------------------------------------------------------------------------


def to_json(fields: Iterable[Field[_R]], record: _R, **more: Any) -> dict[str, Any]:
    """Return a record as JSON, after the members of `more`."""
    return {**more, **{item.name: item.kind.json(item.read(record)) for item in fields}}


def object_schema(fields: Iterable[Field[Any]], **more: Schema) -> Schema:
    """Return the JSON Schema of the value that `to_json` returns."""
    members = {**more, **{item.name: item.schema for item in fields}}
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def records(fields: Iterable[Field[Any]], name: str = "") -> Kind:
    """Return the kind of a list of records, whose schema the OpenAPI document has under `name`, if that is given."""
    members = tuple(fields)
    schema = kinds.reference(name) if name else object_schema(members)
    return Kind(kinds.array(schema), json=lambda values: [to_json(members, value) for value in values])


# -- tables ----------------------------------------------------------------------------------------------


def pick(fields: Iterable[Field[_R]], *names: str) -> tuple[Field[_R], ...]:
    """Return the named fields, in this order."""
    by_name = {item.name: item for item in fields}
    return tuple(by_name[name] for name in names)


def table(
    name: str,
    title: Label,
    fields: Iterable[Field[_R]],
    rows: Iterable[_R],
    write_time: Callable[[float], str] = formats.utc_time,
) -> Table:
    """Return a table with a column for each field and a row for each record."""
    columns = tuple(fields)
    return Table(
        name=name,
        title=str(title),
        columns=tuple(str(item.label) for item in columns),
        rows=[[item.text(row, write_time) for item in columns] for row in rows],
    )


def detail_rows(
    fields: Iterable[Field[_R]], record: _R, write_time: Callable[[float], str] = formats.utc_time
) -> list[list[str]]:
    """Return a row for each field of one record: its label and its value."""
    return [[str(item.label), item.text(record, write_time)] for item in fields]
