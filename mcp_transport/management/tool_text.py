"""Tools and their results as lines of text, in which nothing controls a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["choices", "plain", "property_text", "result_lines", "tool_lines"]

# Unicode's categories of characters that control a terminal, or the order of what it shows.
_CONTROLS: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Line feed and tab; and the joiners, which writing systems and emoji need.
_HARMLESS: Final = "\n\t\u200c\u200d"
_RANGES: Final = (
    *(("minimum", "at least {}"), ("maximum", "at most {}")),
    *(("minLength", "at least {} characters"), ("maxLength", "at most {} characters")),
    *(("minItems", "at least {} of them"), ("maxItems", "at most {} of them")),
    ("format", "format {}"),
)

_Schema = Mapping[str, Any]


def plain(text: object, secrets: Sequence[str] = ()) -> str:
    """Write a text of several lines without secrets and what a terminal obeys: servers say what they like."""
    lines = str(text).replace("\r\n", "\n")
    for secret in filter(None, secrets):
        lines = lines.replace(secret, "***")
    return "".join("?" if _controls(character) else character for character in lines)


def _controls(character: str) -> bool:
    return character not in _HARMLESS and unicodedata.category(character) in _CONTROLS


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """Write the content of a result: texts as they are, everything else by its kind."""
    return [
        plain(
            block["text"]
            if block["type"] == "text"
            else f"[{block['type']}: {block.get('mimeType', block.get('uri', ''))}]"
        )
        for block in result.get("content", [])
    ]


def tool_lines(tools: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each tool, its name and the first line of its description, and one for each argument."""
    for tool in tools:
        summary = (tool.get("description") or "").strip().partition("\n")[0]
        yield _line(f"{tool['name']}  {summary}")
        schema = tool.get("inputSchema") or {}
        properties = schema.get("properties")
        for name, known in (properties if isinstance(properties, Mapping) else {}).items():
            yield _line(f"    {property_text(name, known, is_required=name in (schema.get('required') or ()))}")


def _line(text: str) -> str:
    return plain(text).replace("\n", " ").rstrip()


def property_text(name: str, schema: Any, *, is_required: bool) -> str:
    """Describe a property in one line by its title, type, limits, choices, default and description."""
    if not isinstance(schema, Mapping):
        return name
    facts = [_type(schema)]
    facts += [words.format(schema[keyword]) for keyword, words in _RANGES if keyword in schema]
    if known := choices(schema):
        facts.append(f"one of {', '.join(known)}")
    if "default" in schema:
        facts.append(f"default {json.dumps(schema['default'], ensure_ascii=False)}")
    elif is_required:
        facts.append("required")
    title, description = schema.get("title"), schema.get("description")
    named = f"{name} ({title})" if title and _bare(str(title)) != _bare(name) else name
    return _line(f"{named}: {', '.join(facts)}{f'. {description}' if description else ''}")


def _bare(name: str) -> str:
    return name.replace("_", " ").casefold()


def _type(schema: _Schema) -> str:
    """Name the type; pydantic writes an optional one as `anyOf` with null."""
    several = schema.get("anyOf")
    if "type" not in schema and isinstance(several, list):
        return " or ".join(dict.fromkeys(_type(one) for one in several if isinstance(one, Mapping))) or "any"
    found = schema.get("type", "string" if choices(schema) else "any")
    return " or ".join(map(str, found)) if isinstance(found, list) else str(found)


def choices(schema: _Schema) -> dict[str, Any]:
    """Return the values that a property may have, by the titles that they are shown with."""
    items = schema.get("items")
    if schema.get("type") == "array" and isinstance(items, Mapping):
        return choices(items)
    values = schema.get("enum")
    if isinstance(values, list):
        titles = schema.get("enumNames")
        named = titles if isinstance(titles, list) and len(titles) == len(values) else values
        return {str(title): value for title, value in zip(named, values, strict=True)}
    listed = schema.get("oneOf", schema.get("anyOf"))
    known = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    return {str(one.get("title", one["const"])): one["const"] for one in known if "const" in one}
