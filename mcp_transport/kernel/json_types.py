"""The types that a JSON Schema accepts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["accepts_type"]


def accepts_type(schema: Mapping[str, Any], definitions: Mapping[str, Any], types: Collection[str | None]) -> bool:
    """Return whether a schema accepts one of `types`; None stands for a schema without a type."""
    if "$ref" in schema:
        return accepts_type(definitions[schema["$ref"].rpartition("/")[2]], definitions, types)
    if alternatives := schema.get("anyOf", schema.get("oneOf")):
        return any(accepts_type(alternative, definitions, types) for alternative in alternatives)
    return schema.get("type") in types
