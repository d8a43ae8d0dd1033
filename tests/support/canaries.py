"""What must be in no log line at any level: session ids, tokens, and what tests plant to be looked for."""

from __future__ import annotations

import logging
import re
from typing import Final

__all__ = ["PLANTED", "Watch", "leaks"]

PLANTED: Final = "canary-7f3a"
"""Tests put it into arguments and credentials that nobody may log."""

_SECRETS: Final = re.compile(
    r"""
    (?<![\w.-]) \.[A-Za-z0-9_-]{80,}                      # a sealed session id
    | (?<![\w-]) mcp_[A-Za-z0-9_-]{43} (?![\w-])          # a personal token
    | (?<![\w-]) eyJ[A-Za-z0-9_-]{8,} \. [A-Za-z0-9_-]+   # a JSON Web Token
    | (?<![\w/+-]) [A-Za-z0-9_-]{43} (?![\w/+=-])        # 32 random bytes: a random session id, an opaque token
    """,
    re.VERBOSE,
)


def leaks(text: str) -> list[str]:
    """Return what a text should not hold."""
    found = [match[0] for match in _SECRETS.finditer(text)]
    planted = [PLANTED] if PLANTED in text else []
    return [*planted, *(secret for secret in found if len(secret) != 43 or _is_random(secret))]


def _is_random(word: str) -> bool:
    """Tell random bytes from a long name."""
    return all(any(map(kind, word)) for kind in (str.isdigit, str.isupper, str.islower))


class Watch(logging.Handler):
    """Keeps the lines that hold what they should not."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line, traceback included."""
        line = self.format(record)
        if leaks(line):
            self.found.append(line)

    def taken(self) -> list[str]:
        """Return what was found since the last time."""
        found, self.found = self.found, []
        return found
