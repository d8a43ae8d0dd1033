"""Argument types for numbers on the command line, each with a range."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Final

from django.core.management.base import CommandParser

__all__ = ["DAY_SECONDS", "MAX_DAYS", "add_seconds", "seconds", "whole_number"]

DAY_SECONDS: Final = 24 * 3600

MAX_DAYS: Final = 36_500
"""A hundred years: datetime can subtract it from today, and add it."""

_MAX_QUOTED_CHARACTERS: Final = 40
"""The number of characters of a wrong value that an error quotes."""


def seconds(minimum: float, maximum: float = DAY_SECONDS) -> Callable[[str], float]:
    """Return an argparse type for a duration; both bounds are inclusive."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:  # NaN is in no range
            raise _error(f"seconds from {minimum:g} to {maximum:.15g}", text)
        return value

    return read


def add_seconds(parser: CommandParser, option: str, minimum: float, default: float, help: str) -> None:
    """Add an option for a duration; its help text names the default."""
    parser.add_argument(option, type=seconds(minimum), default=default, help=f"{help} (default %(default)s)")


def whole_number(minimum: int | None = None, maximum: int | None = None) -> Callable[[str], int]:
    """Return an argparse type for an integer; both bounds are inclusive."""
    expected = "a whole number" if minimum is None else f"a whole number from {minimum} to {maximum}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _error(expected, text) from None
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise _error(expected, text)
        return value

    return read


def _error(expected: str, text: str) -> ArgumentTypeError:
    ellipsis = "…" * (len(text) > _MAX_QUOTED_CHARACTERS)
    return ArgumentTypeError(f"expected {expected}, got {text[:_MAX_QUOTED_CHARACTERS]!r}{ellipsis}")
