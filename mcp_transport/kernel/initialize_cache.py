"""A cache of `initialize` results: equal parameters get the same result while the server's options are unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp.server.models import InitializationOptions

from mcp_transport.kernel.parse_cache import short_json

__all__ = ["InitializeCache"]

# More than there are kinds of clients.
_MAX_ENTRIES: Final = 256


class InitializeCache:
    """Results of `initialize` by the client's parameters."""

    def __init__(self) -> None:
        self._options: InitializationOptions | None = None
        self._results: dict[bytes, Mapping[str, Any]] = {}

    def get(self, options: InitializationOptions, params: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the cached result; drop all results when the server's options have changed."""
        if options != self._options:
            self._options, self._results = options, {}
        key = short_json(params)
        return self._results.get(key) if key is not None else None

    def store(self, options: InitializationOptions, params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Cache a result, unless the parameters are long or the server's options have changed meanwhile."""
        if options != self._options or (key := short_json(params)) is None:
            return
        if len(self._results) >= _MAX_ENTRIES:
            self._results.clear()
        self._results[key] = result
