"""A cache that cannot be reached."""

from __future__ import annotations

from typing import Any


class BrokenCache:
    """A Django cache whose server is gone."""

    def __init__(self, location: str, params: dict[str, Any]) -> None: ...

    def get(self, key: str, default: Any = None) -> Any:
        raise ConnectionError("127.0.0.1:6379 refused")
