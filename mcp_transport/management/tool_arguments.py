"""The arguments of a tool on the command line: `key=value`, and all of them as JSON."""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

__all__ = ["add_tool_arguments", "tool_arguments"]

_SHOWN: Final = 40
_MOST_LEVELS: Final = 1000
_TOO_DEEP: Final = "it is nested too deep"


def add_tool_arguments(parser: CommandParser) -> None:
    """Add the words and the option that `tool_arguments` reads."""
    parser.add_argument(
        "pairs", nargs="*", metavar="key=value", help="arguments; a value that is JSON is read as such"
    )
    parser.add_argument("--arguments", help="all arguments as one JSON object")


def tool_arguments(pairs: list[str], document: str | None) -> dict[str, Any]:
    """Read the arguments of a tool; pairs are added to the document.

    Raises:
        CommandError: they cannot be read; the exit status is 2 then, as for all words of a command.
    """
    try:
        arguments = _read(document or "{}")
    except ValueError as error:
        raise CommandError(f"--arguments must be a JSON object: {error}", returncode=2) from error
    if not isinstance(arguments, dict):
        raise CommandError("--arguments must be a JSON object.", returncode=2)
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise CommandError(f"Expected key=value, got {pair!r}.", returncode=2)
        arguments[name] = _value(value)
    return arguments


def _value(text: str) -> Any:
    try:
        return _read(text)
    except ValueError:
        return text


def _read(text: str) -> Any:
    """Read JSON, in which there is no NaN. Raises: ValueError."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_number)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _is_deep(value: Any) -> bool:
    """Tell whether JSON has more levels than the endpoint reads; Python 3.12 and newer read more."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        lists = [item for item in level if isinstance(item, list)]
        lists += [[*item.values()] for item in level if isinstance(item, dict)]
        level = [*chain.from_iterable(lists)]
        if not level:
            return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _number(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:_SHOWN]} is too large")
    return value
