"""JSON Schemas of declarations; the output schema of a tool is that of serialization, not of validation."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Mapping
from typing import Any

from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, StrictJsonSchema, _inline_root_ref

__all__ = ["SerializationSchema", "accepts_type", "has_numbers", "number_fault", "output_schema"]


class SerializationSchema(StrictJsonSchema):
    """Generates serialization schemas; a custom serializer without a return type accepts anything."""

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:
        """Return the schema of a serializer's result; without one, pydantic would use the serializer's input."""
        if schema["type"] in ("function-plain", "function-wrap") and "return_schema" not in schema:
            module = getattr(schema["function"], "__module__", "")  # pydantic's own serializers keep the type
            return {} if module.partition(".")[0] != "pydantic" else None
        return super().ser_schema(schema)


def output_schema(metadata: FuncMetadata) -> dict[str, Any] | None:
    """Return the serialization schema of a tool's structured content; the SDK publishes the validation schema."""
    if metadata.output_model is None or metadata.output_schema is None:
        return metadata.output_schema
    # Both functions are private: the adapter that the SDK validates results with, and the form of its schemas.
    with contextlib.suppress(Exception):  # a type that has a validation schema only
        adapter = metadata._output_adapter(metadata.output_model)
        return _inline_root_ref(adapter.json_schema(mode="serialization", schema_generator=SerializationSchema))
    return metadata.output_schema


def build_output_adapter(metadata: FuncMetadata) -> None:
    """Build what the SDK validates a tool's structured content with, which it would build for the first result."""
    if metadata.output_model is not None and metadata.output_schema is not None:
        metadata._output_adapter(metadata.output_model)


def has_numbers(schema: Any) -> bool:
    """Return whether a schema contains floats, whose values may be NaN or infinite."""
    if isinstance(schema, dict):
        return schema.get("type") == "number" or any(map(has_numbers, schema.values()))
    return isinstance(schema, list) and any(map(has_numbers, schema))


def number_fault(value: Any) -> str:
    """Return an error that names the first NaN or infinity in a JSON-like value, or ""."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"a result contains {value}, which is not a JSON number"
    if isinstance(value, dict):
        return next(filter(None, map(number_fault, value.values())), "")
    return next(filter(None, map(number_fault, value)), "") if isinstance(value, list) else ""


def accepts_type(schema: Mapping[str, Any], definitions: Mapping[str, Any], types: Collection[str | None]) -> bool:
    """Return whether a schema accepts one of `types`; None stands for a schema without a type."""
    if "$ref" in schema:
        return accepts_type(definitions[schema["$ref"].rpartition("/")[2]], definitions, types)
    if alternatives := schema.get("anyOf", schema.get("oneOf")):
        return any(accepts_type(alternative, definitions, types) for alternative in alternatives)
    return schema.get("type") in types
