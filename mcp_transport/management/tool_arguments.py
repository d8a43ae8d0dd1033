"""The arguments of a tool on the command line: `key=value` pairs, or a JSON object."""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

__all__ = ["add_tool_arguments", "tool_arguments"]

_MAX_QUOTED_CHARACTERS: Final = 40
_MAX_LEVELS: Final = 1000
_TOO_DEEP: Final = "it is nested too deeply"


def add_tool_arguments(parser: CommandParser) -> None:
    """Add the arguments and the option that `tool_arguments` reads."""
    parser.add_argument(
        "pairs", nargs="*", metavar="key=value", help="an argument; a value that is valid JSON is parsed as JSON"
    )
    parser.add_argument("--arguments", help="all arguments as one JSON object")


def tool_arguments(pairs: list[str], document: str | None) -> dict[str, Any]:
    """Parse the arguments of a tool; pairs are added to the JSON object.

    Raises:
        CommandError: they are malformed; with exit status 2, as for other usage errors.
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
    """Parse JSON without NaN and infinity. Raises: ValueError."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_number)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _is_deep(value: Any) -> bool:
    """Return whether JSON has more levels than the endpoint accepts; Python 3.12 and newer parse more."""
    level = [value]
    for _ in range(_MAX_LEVELS):
        lists = [item for item in level if isinstance(item, list)]
        lists += [[*item.values()] for item in level if isinstance(item, dict)]
        level = [*chain.from_iterable(lists)]
        if not level:
            return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not valid JSON")


def _number(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:_MAX_QUOTED_CHARACTERS]} is too large")
    return value
