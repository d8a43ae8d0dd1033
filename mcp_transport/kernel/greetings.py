"""Answers to `initialize`: the same for the same words, as long as the server says the same of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from mcp.server.models import InitializationOptions

__all__ = ["Greetings"]

# How many are kept, of how many bytes of a client's words at most; there are fewer kinds of clients.
_MOST: Final = 256
_LONGEST: Final = 4096


class Greetings:
    """Keeps the results of `initialize` by what the client said."""

    def __init__(self) -> None:
        self._options: InitializationOptions | None = None
        self._known: dict[bytes, Mapping[str, Any]] = {}

    def find(self, options: InitializationOptions, params: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the result that the same words had when the server said the same of itself."""
        if options != self._options:
            self._options, self._known = options, {}
        return self._known.get(orjson.dumps(params))

    def keep(self, params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep a result for the options that were last looked for, and for words that are not long."""
        words = orjson.dumps(params)
        if len(self._known) >= _MOST:
            self._known.clear()
        if len(words) <= _LONGEST:
            self._known[words] = result
