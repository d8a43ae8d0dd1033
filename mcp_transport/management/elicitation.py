"""Questions of a server (elicitation), asked on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from mcp_types import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult

from mcp_transport.management.terminal import Terminal
from mcp_transport.management.tool_text import choices, property_text

__all__ = ["Questions"]

_YES: Final = ("y", "yes", "true", "1")
_NO: Final = ("n", "no", "false", "0")
_SIZES: Final = (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "values"))


class _Ended(Exception):
    """The user does not answer."""

    def __init__(self, action: Literal["decline", "cancel"]) -> None:
        super().__init__(action)
        self.action = action


class Questions:
    """Asks for each property of a form until its value is a valid one; declines where there is no terminal."""

    def __init__(self, terminal: Terminal) -> None:
        """Take the terminal to ask on."""
        self._terminal = terminal

    async def answer(self, context: object, params: ElicitRequestFormParams | ElicitRequestURLParams) -> ElicitResult:
        """Answer a question: the elicitation callback of a client."""
        self._terminal.say(f"The server asks: {params.message}")
        if not self._terminal.can_ask:
            self._terminal.say("Declined: there is no terminal to answer on.")
            return ElicitResult(action="decline")
        try:
            if isinstance(params, ElicitRequestURLParams):
                await self._visit(params.url)
                return ElicitResult(action="accept")
            return ElicitResult(action="accept", content=await self._form(params.requested_schema))
        except _Ended as ended:
            return ElicitResult(action=ended.action)

    async def _visit(self, url: str) -> None:
        self._terminal.say(f"Open this address in a browser, if you trust the server:\n  {url}")
        await self._agree("Done?")

    async def _agree(self, question: str) -> None:
        while True:
            typed = (await self._line(f"{question} [y/N] ")).casefold()
            if typed in _YES:
                return
            if typed in ("", *_NO):
                raise _Ended("decline")

    async def _form(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required") or ()
        if not isinstance(properties, Mapping) or not properties:
            await self._agree("Agree?")
            return {}
        self._terminal.say("An empty line takes the default, or declines where a value is required; Ctrl-D cancels.")
        content = dict[str, Any]()
        for name, known in properties.items():
            of_property = known if isinstance(known, Mapping) else {}
            is_found, value = await self._value(name, of_property, is_required=name in required)
            if is_found:
                content[name] = value
        return content

    async def _value(self, name: str, schema: Mapping[str, Any], *, is_required: bool) -> tuple[bool, Any]:
        """Return whether there is a value, and the value."""
        self._terminal.say(property_text(name, schema, is_required=is_required))
        while True:
            typed = await self._line(f"{name}: ".replace("\n", " "))
            if not typed and "default" in schema:
                return True, schema["default"]
            if not typed and is_required:
                raise _Ended("decline")
            if not typed:
                return False, None
            try:
                return True, _read(typed, schema)
            except ValueError as error:
                self._terminal.say(str(error))

    async def _line(self, prompt: str) -> str:
        typed = await self._terminal.ask(prompt)
        if typed is None:
            raise _Ended("cancel")
        return typed


def _read(typed: str, schema: Mapping[str, Any]) -> Any:
    """Read what was typed for a property. Raises: ValueError, saying what was expected."""
    kind, known = schema.get("type"), choices(schema)
    value: Any = typed
    if kind == "array":
        words = [word.strip() for word in typed.split(",") if word.strip()]
        value = [_choice(word, known) for word in words] if known else words
    elif known:
        return _choice(typed, known)
    elif kind == "boolean":
        return _boolean(typed)
    elif kind in ("integer", "number"):
        return _number(typed, schema, int if kind == "integer" else float)
    _check_size(value, schema)
    return value


def _choice(typed: str, known: Mapping[str, Any]) -> Any:
    """Return the choice with this title, or else this value."""
    by_value = {str(value): value for value in known.values()}
    try:
        return known[typed] if typed in known else by_value[typed]
    except KeyError:
        raise ValueError(f"Expected one of {', '.join(known)}.") from None


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
    least, most = schema.get("minimum"), schema.get("maximum")
    if isinstance(least, int | float) and value < least:
        raise ValueError(f"Expected at least {least}.")
    if isinstance(most, int | float) and value > most:
        raise ValueError(f"Expected at most {most}.")
    return value


def _check_size(value: str | list[Any], schema: Mapping[str, Any]) -> None:
    for least, most, unit in _SIZES:
        if unit != ("values" if isinstance(value, list) else "characters"):
            continue
        if isinstance(schema.get(least), int) and len(value) < schema[least]:
            raise ValueError(f"Expected at least {schema[least]} {unit}.")
        if isinstance(schema.get(most), int) and len(value) > schema[most]:
            raise ValueError(f"Expected at most {schema[most]} {unit}.")
