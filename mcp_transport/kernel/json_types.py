"""What a JSON Schema says of the types of its values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["takes_text"]


def takes_text(schema: Mapping[str, Any], definitions: Mapping[str, Any], types: Collection[str | None]) -> bool:
    """Tell whether a value may be of one of some types; None stands for a schema that names no type."""
    if "$ref" in schema:
        return takes_text(definitions[schema["$ref"].rpartition("/")[2]], definitions, types)
    if arms := schema.get("anyOf", schema.get("oneOf")):
        return any(takes_text(arm, definitions, types) for arm in arms)
    return schema.get("type") in types
