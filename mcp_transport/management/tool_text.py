"""Tools and their results as text without characters that control a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["choices", "plain", "property_text", "result_lines", "tool_lines"]

# Unicode categories of characters that control a terminal, or the direction of text.
_CONTROLS: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Line feed and tab; and the joiners, which some scripts and emoji need.
_ALLOWED: Final = "\n\t\u200c\u200d"
_CONSTRAINTS: Final = (
    *(("minimum", "at least {}"), ("maximum", "at most {}")),
    *(("minLength", "at least {} characters"), ("maxLength", "at most {} characters")),
    *(("minItems", "at least {} of them"), ("maxItems", "at most {} of them")),
    ("format", "format {}"),
)

_Schema = Mapping[str, Any]


def plain(text: object, secrets: Sequence[str] = ()) -> str:
    """Return a text without secrets and without control characters, which a server could send."""
    lines = str(text).replace("\r\n", "\n")
    for secret in filter(None, secrets):
        lines = lines.replace(secret, "***")
    return "".join("?" if _is_control(character) else character for character in lines)


def _is_control(character: str) -> bool:
    return character not in _ALLOWED and unicodedata.category(character) in _CONTROLS


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the content of a result as lines: texts unchanged, other content by its type."""
    return [plain(_block_text(block)) for block in result.get("content", [])]


def _block_text(block: Mapping[str, Any]) -> object:
    is_text = block["type"] == "text"
    return block["text"] if is_text else f"[{block['type']}: {block.get('mimeType', block.get('uri', ''))}]"


def tool_lines(tools: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each tool (its name and the first line of its description) and each argument."""
    for tool in tools:
        summary = (tool.get("description") or "").strip().partition("\n")[0]
        yield _line(f"{tool['name']}  {summary}")
        schema = tool.get("inputSchema") or {}
        properties = schema.get("properties")
        for name, item in (properties if isinstance(properties, Mapping) else {}).items():
            yield _line(f"    {property_text(name, item, is_required=name in (schema.get('required') or ()))}")


def _line(text: str) -> str:
    return plain(text).replace("\n", " ").rstrip()


def property_text(name: str, schema: Any, *, is_required: bool) -> str:
    """Return one line with the title, type, constraints, choices, default and description of a property."""
    if not isinstance(schema, Mapping):
        return name
    parts = [_type(schema)]
    parts += [template.format(schema[keyword]) for keyword, template in _CONSTRAINTS if keyword in schema]
    if options := choices(schema):
        parts.append(f"one of {', '.join(options)}")
    if "default" in schema:
        parts.append(f"default {json.dumps(schema['default'], ensure_ascii=False)}")
    elif is_required:
        parts.append("required")
    title, description = schema.get("title"), schema.get("description")
    named = f"{name} ({title})" if title and _normalized(str(title)) != _normalized(name) else name
    return _line(f"{named}: {', '.join(parts)}{f'. {description}' if description else ''}")


def _normalized(name: str) -> str:
    return name.replace("_", " ").casefold()


def _type(schema: _Schema) -> str:
    """Return the name of the type; pydantic writes an optional one as `anyOf` with null."""
    several = schema.get("anyOf")
    if "type" not in schema and isinstance(several, list):
        return " or ".join(dict.fromkeys(_type(item) for item in several if isinstance(item, Mapping))) or "any"
    name = schema.get("type", "string" if choices(schema) else "any")
    return " or ".join(map(str, name)) if isinstance(name, list) else str(name)


def choices(schema: _Schema) -> dict[str, Any]:
    """Return the allowed values of a property, by their titles."""
    items = schema.get("items")
    if schema.get("type") == "array" and isinstance(items, Mapping):
        return choices(items)
    values = schema.get("enum")
    if isinstance(values, list):
        titles = schema.get("enumNames")
        named = titles if isinstance(titles, list) and len(titles) == len(values) else values
        return {str(title): value for title, value in zip(named, values, strict=True)}
    schemas = schema.get("oneOf", schema.get("anyOf"))
    options = [item for item in schemas if isinstance(item, Mapping)] if isinstance(schemas, list) else []
    return {str(item.get("title", item["const"])): item["const"] for item in options if "const" in item}
