"""Former names of the contracts' methods, which are refused."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["Contract"]

# Former names of methods: a class that overrides one would run without its override.
_FORMER_NAMES: Final = {
    "is_in_doubt": "lease_may_be_lost",
    "watch": "journal_at_once",
    "settled": "flush",
    "retire": "announce_drain",
    "numbers": "metrics",
    "sessions": "page",
    "streams": "stream_records",
}


class Contract:
    """Refuses methods with a former name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for former in _FORMER_NAMES.keys() & vars(cls).keys():
            raise TypeError(f"{cls.__qualname__}.{former}() must be renamed to {_FORMER_NAMES[former]}()")
