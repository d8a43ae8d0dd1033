"""What errors and log lines repeat of what a client sent."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_QUOTE", "cut"]

MAX_QUOTE: Final = 200
"""Characters of it."""


def cut(text: str) -> str:
    """Shorten what a client sent."""
    return text if len(text) <= MAX_QUOTE else f"{text[:MAX_QUOTE]}..."
