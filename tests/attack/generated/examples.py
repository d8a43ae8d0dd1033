"""Values that a JSON schema allows."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

Schema = Mapping[str, Any]

_DEPTH = 6
_TEXTS = ("a", "name", "greet", "test://a", "", "é", "1", "2026-07-28")


def example(schema: Schema, random: Random, definitions: Schema | None = None, depth: int = 0) -> Any:
    """Return a value that a schema allows; optional members are there half of the time."""
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    if "$ref" in schema:
        return example(definitions[schema["$ref"].rpartition("/")[2]], random, definitions, depth)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        shallow = [choice for choice in choices if "$ref" not in choice] or choices
        return example(random.choice(shallow if depth > _DEPTH else choices), random, definitions, depth)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return random.choice(schema["enum"])
    return _by_type(schema, random, definitions, depth)


def _by_type(schema: Schema, random: Random, definitions: Schema, depth: int) -> Any:
    match schema.get("type"):
        case "object":
            return _object(schema, random, definitions, depth)
        case "array":
            items = schema.get("items", {"type": "string"})
            count = max(schema.get("minItems", 0), random.choice((0, 1, 1, 2, 3)) if depth <= _DEPTH else 0)
            return [example(items, random, definitions, depth + 1) for _ in range(count)]
        case "integer":
            return random.choice((schema.get("minimum", 0), 1, 7))
        case "number":
            return random.choice((0.5, 1, 1e3))
        case "boolean":
            return random.random() < 0.5
        case "null":
            return None
        case "string":
            return "2026-01-01" if schema.get("format") == "date" else random.choice(_TEXTS)
        case _:
            return random.choice((None, 1, "x", [], {}))


def _object(schema: Schema, random: Random, definitions: Schema, depth: int) -> dict[str, Any]:
    required, found = schema.get("required", ()), {}
    for name, inner in schema.get("properties", {}).items():
        if name in required or (depth <= _DEPTH and random.random() < 0.5):
            found[name] = example(inner, random, definitions, depth + 1)
    if isinstance(more := schema.get("additionalProperties"), Mapping) and depth <= _DEPTH:
        found |= {
            f"k{number}": example(more, random, definitions, depth + 1) for number in range(random.randrange(3))
        }
    return found
