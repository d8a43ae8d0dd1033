"""What tools return, as their published schema says: it is the schema of what is written, not of what is read."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, StrictJsonSchema, _inline_root_ref

__all__ = ["WrittenSchema", "has_numbers", "number_fault", "output_schema"]


class WrittenSchema(StrictJsonSchema):
    """Schemas of what is written: anything, where a project's serializer does not say what it returns."""

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:
        """Return the schema of a serializer's result; pydantic takes that of its argument if there is none."""
        if schema["type"] in ("function-plain", "function-wrap") and "return_schema" not in schema:
            module = getattr(schema["function"], "__module__", "")  # pydantic's own keep the type
            return {} if module.partition(".")[0] != "pydantic" else None
        return super().ser_schema(schema)


def output_schema(metadata: FuncMetadata) -> dict[str, Any] | None:
    """Return the schema of a tool's structured content; the SDK publishes that of what pydantic takes for it."""
    if metadata.output_model is None or metadata.output_schema is None:
        return metadata.output_schema
    with contextlib.suppress(Exception):  # a type that is read, but whose form as JSON only its own hook knows
        adapter = metadata._output_adapter(metadata.output_model)
        return _inline_root_ref(adapter.json_schema(mode="serialization", schema_generator=WrittenSchema))
    return metadata.output_schema


def has_numbers(schema: Any) -> bool:
    """Tell whether a schema has numbers in it that may be fractions, which may be none in JSON."""
    if isinstance(schema, dict):
        return schema.get("type") == "number" or any(map(has_numbers, schema.values()))
    return isinstance(schema, list) and any(map(has_numbers, schema))


def number_fault(value: Any) -> str:
    """Say which number in plain data JSON has not, if any."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"a result holds {value}, which is no number in JSON"
    if isinstance(value, dict):
        return next(filter(None, map(number_fault, value.values())), "")
    return next(filter(None, map(number_fault, value)), "") if isinstance(value, list) else ""
