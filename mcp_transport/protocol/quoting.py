"""Truncate client input that errors and log lines repeat."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_QUOTE", "truncate"]

MAX_QUOTE: Final = 200
"""Characters of a value that are repeated."""


def truncate(text: str) -> str:
    """Truncate a text to `MAX_QUOTE` characters."""
    return text if len(text) <= MAX_QUOTE else f"{text[:MAX_QUOTE]}..."
