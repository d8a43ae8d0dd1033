"""Answers to `initialize`: the same for the same words, as long as the server says the same of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp.server.models import InitializationOptions

from mcp_transport.kernel.parse_cache import in_short

__all__ = ["Greetings"]

# There are fewer kinds of clients.
_MOST: Final = 256


class Greetings:
    """Keeps the results of `initialize` by what the client said."""

    def __init__(self) -> None:
        self._options: InitializationOptions | None = None
        self._known: dict[bytes, Mapping[str, Any]] = {}

    def find(self, options: InitializationOptions, params: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the result that the same words had when the server said the same of itself."""
        if options != self._options:
            self._options, self._known = options, {}
        words = in_short(params)
        return self._known.get(words) if words is not None else None

    def keep(self, options: InitializationOptions, params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep a result for short words, if the server says the same of itself still."""
        if options != self._options or (words := in_short(params)) is None:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[words] = result
