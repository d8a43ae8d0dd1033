"""Cache the parsing of client descriptions: a client sends the same values with each request (docs/adr/0021)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Final, TypeVar

import orjson

__all__ = ["cached_by_json", "short_json"]

_T = TypeVar("_T")

# Entries and bytes of a key: the cached models may take a hundred times as much memory as the key.
_MAX_ENTRIES: Final = 128
_MAX_KEY_BYTES: Final = 2048


def short_json(value: Any) -> bytes | None:
    """Encode a value as JSON; None if that takes over `_MAX_KEY_BYTES`, or the value is nested too deep."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        return None
    return encoded if len(encoded) <= _MAX_KEY_BYTES else None


def cached_by_json(parse: Callable[[str, Any], _T]) -> Callable[[str, Any], _T]:
    """Decorate a function of a revision and a JSON value: cache its result by the value's encoding, if short."""

    @lru_cache(maxsize=_MAX_ENTRIES)
    def parse_encoded(version: str, encoded: bytes) -> _T:
        return parse(version, orjson.loads(encoded))

    @wraps(parse)
    def parse_cached(version: str, value: Any) -> _T:
        encoded = short_json(value)
        return parse(version, value) if encoded is None else parse_encoded(version, encoded)

    return parse_cached
