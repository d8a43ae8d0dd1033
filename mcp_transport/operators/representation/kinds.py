"""Kinds of values: their JSON Schema, their text in tables, and their form in JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from mcp_transport.operators.representation import formats

__all__ = [
    "BYTES",
    "COUNT",
    "DURATION",
    "FLAG",
    "LATENCY",
    "NULLABLE_REQUEST_ID",
    "NULLABLE_TIME",
    "NUMBER",
    "OBJECT",
    "PERCENT",
    "RATE",
    "REQUEST_ID",
    "SECONDS",
    "TEXT",
    "TEXTS",
    "TIME",
    "Kind",
    "Schema",
    "array",
    "choice",
    "reference",
]

Schema = dict[str, Any]


def reference(name: str) -> Schema:
    """Refer to a schema of the OpenAPI document."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(schema: Schema) -> Schema:
    """Return the JSON Schema of a list."""
    return {"type": "array", "items": schema}


def choice(values: Iterable[Any]) -> Schema:
    """Return the JSON Schema of one of several strings."""
    return {"type": "string", "enum": list(values)}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: its JSON Schema, its text in a table, and its form in JSON."""

    schema: Schema
    text: Callable[[Any], str] = str
    json: Callable[[Any], Any] = lambda value: value


_IDS: Final[list[Schema]] = [{"type": "string", "maxLength": 256}, {"type": "integer"}]
_NULLABLE_NUMBER: Final[Schema] = {"type": ["number", "null"], "minimum": 0}

TEXT: Final = Kind({"type": "string"})
TEXTS: Final = Kind({"type": "array", "items": TEXT.schema}, ", ".join, list)
COUNT: Final = Kind({"type": "integer", "minimum": 0}, formats.number)
FLAG: Final = Kind({"type": "boolean"}, formats.yes_or_no)
OBJECT: Final = Kind({"type": "object"}, formats.pretty_json, dict)
TIME: Final = Kind({"type": "string", "format": "date-time"}, formats.utc_time, formats.iso_time)
NULLABLE_TIME: Final = Kind(
    {"type": ["string", "null"], "format": "date-time"},
    formats.utc_time,
    lambda seconds: formats.iso_time(seconds) if seconds else None,
)
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
