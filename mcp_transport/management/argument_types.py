"""Numbers on the command line, with the range that each of them has."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Final

__all__ = ["DAY_SECONDS", "MOST_DAYS", "seconds", "whole_number"]

DAY_SECONDS: Final = 24 * 3600

MOST_DAYS: Final = 36_500
"""A hundred years: datetime can subtract it from today, and add it."""

_SHOWN: Final = 40
"""How many characters of a wrong value an error repeats."""


def seconds(least: float, most: float = DAY_SECONDS) -> Callable[[str], float]:
    """Return what reads a duration for argparse; both bounds are allowed."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:  # NaN is in no range
            raise _wrong(f"seconds from {least:g} to {most:.15g}", text)
        return value

    return read


def whole_number(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """Return what reads an integer for argparse; both bounds are allowed."""
    expected = "a whole number" if least is None else f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _wrong(expected, text) from None
        if (least is not None and value < least) or (most is not None and value > most):
            raise _wrong(expected, text)
        return value

    return read


def _wrong(expected: str, text: str) -> ArgumentTypeError:
    return ArgumentTypeError(f"expected {expected}, got {text[:_SHOWN]!r}{'…' * (len(text) > _SHOWN)}")
