"""What clients say of themselves, read once: they say the same with each request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Final, TypeVar

import orjson

__all__ = ["in_short", "remembered"]

_T = TypeVar("_T")

# How many words are kept, of how many bytes: models made of such bytes may take a hundred times as many.
_MOST: Final = 128
_LONGEST: Final = 2048


def in_short(value: Any) -> bytes | None:
    """Write JSON, or nothing for what is long, or nested too deep to be written."""
    try:
        written = orjson.dumps(value)
    except TypeError:
        return None
    return written if len(written) <= _LONGEST else None


def remembered(read: Callable[[str, Any], _T]) -> Callable[[str, Any], _T]:
    """Keep what `read` makes of a revision and of a JSON value, if that is short."""

    @lru_cache(maxsize=_MOST)
    def read_once(version: str, written: bytes) -> _T:
        return read(version, orjson.loads(written))

    @wraps(read)
    def recall(version: str, value: Any) -> _T:
        written = in_short(value)
        return read(version, value) if written is None else read_once(version, written)

    return recall
