"""Answers to `initialize`: the same for the same words, as long as the server says the same of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp.server.models import InitializationOptions

from mcp_transport.kernel.remembering import in_short

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

    def keep(self, params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep a result for the options that were last looked for, and for words that are not long."""
        if len(self._known) >= _MOST:
            self._known.clear()
        if (words := in_short(params)) is not None:
            self._known[words] = result
