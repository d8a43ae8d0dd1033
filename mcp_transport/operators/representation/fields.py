"""A field has a name in JSON, a label in tables, a value, and a kind: its JSON Schema and how people read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from django.utils.functional import Promise

from mcp_transport.operators.representation import formats

__all__ = [
    "BYTES",
    "COUNT",
    "DURATION",
    "FLAG",
    "LATENCY",
    "NULLABLE_REQUEST_ID",
    "NUMBER",
    "OBJECT",
    "PERCENT",
    "RATE",
    "REQUEST_ID",
    "SECONDS",
    "TEXT",
    "TEXTS",
    "TIME",
    "Field",
    "Kind",
    "Schema",
    "Table",
    "array",
    "choice",
    "detail_rows",
    "object_schema",
    "pick",
    "records",
    "reference",
    "table",
    "to_json",
]

Schema = dict[str, Any]
Label = str | Promise
_R = TypeVar("_R")


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: its JSON Schema, its text in a table, and its form in JSON."""

    schema: Schema
    text: Callable[[Any], str] = str
    json: Callable[[Any], Any] = _unchanged


_IDS: Final[list[Schema]] = [{"type": "string", "maxLength": 256}, {"type": "integer"}]
_NULLABLE_NUMBER: Final[Schema] = {"type": ["number", "null"], "minimum": 0}

TEXT: Final = Kind({"type": "string"})
TEXTS: Final = Kind({"type": "array", "items": TEXT.schema}, ", ".join, list)
COUNT: Final = Kind({"type": "integer", "minimum": 0}, formats.number)
FLAG: Final = Kind({"type": "boolean"}, formats.yes_or_no)
OBJECT: Final = Kind({"type": "object"}, formats.pretty_json, dict)
TIME: Final = Kind({"type": "string", "format": "date-time"}, formats.utc_time, formats.iso_time)
NUMBER: Final = Kind({"type": "number", "minimum": 0}, formats.number)
DURATION: Final = Kind(NUMBER.schema, formats.duration)
RATE: Final = Kind(NUMBER.schema, lambda value: formats.number(value, 2))
SECONDS: Final = Kind(_NULLABLE_NUMBER, lambda value: formats.number(value, 3))
LATENCY: Final = Kind(_NULLABLE_NUMBER, formats.milliseconds)
PERCENT: Final = Kind(_NULLABLE_NUMBER, formats.percent)
BYTES: Final = Kind(COUNT.schema, formats.size)
REQUEST_ID: Final = Kind(
    {"description": 'A JSON-RPC id: 7 and "7" are different ids.', "oneOf": _IDS}, formats.request_id_text
)
NULLABLE_REQUEST_ID: Final = Kind(
    {"description": "A JSON-RPC id, or null.", "oneOf": [*_IDS, {"type": "null"}]}, formats.request_id_text
)


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
    """Return the JSON Schema of what `to_json` returns."""
    members = {**more, **{item.name: item.schema for item in fields}}
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def reference(name: str) -> Schema:
    """Refer to a schema of the OpenAPI document."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(schema: Schema) -> Schema:
    """Return the JSON Schema of a list."""
    return {"type": "array", "items": schema}


def choice(values: Iterable[Any]) -> Schema:
    """Return the JSON Schema of one of several strings."""
    return {"type": "string", "enum": list(values)}


def records(fields: Iterable[Field[Any]], name: str = "") -> Kind:
    """Return the kind of a list of records, whose schema the OpenAPI document has under `name`, if that is given."""
    members = tuple(fields)
    schema = reference(name) if name else object_schema(members)
    return Kind(array(schema), json=lambda values: [to_json(members, value) for value in values])


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
