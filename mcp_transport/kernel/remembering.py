"""What clients say of themselves, read once: they say the same with each request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

__all__ = ["remembered"]

_T = TypeVar("_T")

# Bytes of the longest words that are kept, so that nobody fills the memory with them.
_LONGEST: Final = 4096


def remembered(read: Callable[[str, bytes], _T]) -> Callable[[str, bytes], _T]:
    """Keep what `read` makes of a revision and some JSON, unless that is long."""
    known = lru_cache(maxsize=1024)(read)

    @wraps(read)
    def recall(version: str, written: bytes) -> _T:
        return (known if len(written) <= _LONGEST else read)(version, written)

    return recall
