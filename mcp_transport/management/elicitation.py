"""Answers a server's elicitation requests on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from mcp_types import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult

from mcp_transport.management.terminal import Terminal
from mcp_transport.management.tool_text import choices, property_text

__all__ = ["ElicitationPrompt"]

_YES: Final = ("y", "yes", "true", "1")
_NO: Final = ("n", "no", "false", "0")
_LENGTHS: Final = {str: ("minLength", "maxLength", "characters"), list: ("minItems", "maxItems", "values")}


class _NotAnswered(Exception):
    """Raised when the user declines or cancels."""

    def __init__(self, action: Literal["decline", "cancel"]) -> None:
        super().__init__(action)
        self.action = action


class ElicitationPrompt:
    """Prompts for each property of a form until its value is valid; declines if there is no terminal."""

    def __init__(self, terminal: Terminal) -> None:
        """Prompt on this terminal."""
        self._terminal = terminal

    async def answer(self, context: object, params: ElicitRequestFormParams | ElicitRequestURLParams) -> ElicitResult:
        """Answer an elicitation request; this is a client's elicitation callback."""
        self._terminal.say(f"The server asks: {params.message}")
        if not self._terminal.is_interactive:
            self._terminal.say("Declined: there is no terminal to answer on.")
            return ElicitResult(action="decline")
        try:
            if isinstance(params, ElicitRequestURLParams):
                await self._confirm_url(params.url)
                return ElicitResult(action="accept")
            return ElicitResult(action="accept", content=await self._form(params.requested_schema))
        except _NotAnswered as error:
            return ElicitResult(action=error.action)

    async def _confirm_url(self, url: str) -> None:
        self._terminal.say(f"Open this URL in a browser, if you trust the server:\n  {url}")
        await self._confirm("Done?")

    async def _confirm(self, question: str) -> None:
        while True:
            typed = (await self._line(f"{question} [y/N] ")).casefold()
            if typed in _YES:
                return
            if typed in ("", *_NO):
                raise _NotAnswered("decline")

    async def _form(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required") or ()
        if not isinstance(properties, Mapping) or not properties:
            await self._confirm("Agree?")
            return {}
        self._terminal.say("An empty line means the default, or declines if a value is required; Ctrl-D cancels.")
        content = dict[str, Any]()
        for name, item in properties.items():
            property_schema = item if isinstance(item, Mapping) else {}
            has_value, value = await self._value(name, property_schema, is_required=name in required)
            if has_value:
                content[name] = value
        return content

    async def _value(self, name: str, schema: Mapping[str, Any], *, is_required: bool) -> tuple[bool, Any]:
        """Prompt for a property; return whether there is a value, and the value."""
        self._terminal.say(property_text(name, schema, is_required=is_required))
        while True:
            typed = await self._line(f"{name}: ".replace("\n", " "))
            if not typed and "default" in schema:
                return True, schema["default"]
            if not typed and is_required:
                raise _NotAnswered("decline")
            if not typed:
                return False, None
            try:
                return True, _read(typed, schema)
            except ValueError as error:
                self._terminal.say(str(error))

    async def _line(self, prompt: str) -> str:
        typed = await self._terminal.read_line(prompt)
        if typed is None:
            raise _NotAnswered("cancel")
        return typed


def _read(typed: str, schema: Mapping[str, Any]) -> Any:
    """Parse the input for a property. Raises: ValueError, with the expected value."""
    kind, options = schema.get("type"), choices(schema)
    value: Any = typed
    if kind == "array":
        items = [item.strip() for item in typed.split(",") if item.strip()]
        value = [_choice(item, options) for item in items] if options else items
    elif options:
        return _choice(typed, options)
    elif kind == "boolean":
        return _boolean(typed)
    elif kind in ("integer", "number"):
        return _number(typed, schema, int if kind == "integer" else float)
    _check_length(value, schema)
    return value


def _choice(typed: str, options: Mapping[str, Any]) -> Any:
    """Return the option with this title or, without one, with this value."""
    by_value = {str(value): value for value in options.values()}
    try:
        return options[typed] if typed in options else by_value[typed]
    except KeyError:
        raise ValueError(f"Expected one of {', '.join(options)}.") from None


def _boolean(typed: str) -> bool:
    if typed.casefold() not in (*_YES, *_NO):
        raise ValueError("Expected yes or no.")
    return typed.casefold() in _YES


def _number(typed: str, schema: Mapping[str, Any], kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(typed)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"Expected a{' whole' if kind is int else ''} number.")
    minimum, maximum = schema.get("minimum"), schema.get("maximum")
    if isinstance(minimum, int | float) and value < minimum:
        raise ValueError(f"Expected at least {minimum}.")
    if isinstance(maximum, int | float) and value > maximum:
        raise ValueError(f"Expected at most {maximum}.")
    return value


def _check_length(value: str | list[Any], schema: Mapping[str, Any]) -> None:
    minimum, maximum, unit = _LENGTHS[type(value)]
    if isinstance(schema.get(minimum), int) and len(value) < schema[minimum]:
        raise ValueError(f"Expected at least {schema[minimum]} {unit}.")
    if isinstance(schema.get(maximum), int) and len(value) > schema[maximum]:
        raise ValueError(f"Expected at most {schema[maximum]} {unit}.")
