"""How much of everything; the server reads its part of it, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

QUERY_SECONDS: Final = 0.01
DOWN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Scale:
    """The numbers of a run."""

    calls: int = 1000
    at_once: int = 100
    kinds: int = 10
    """How many different arguments the calls have."""
    others: int = 8
    """Connections that call the other tool, and four times as many the tool that fails."""
    seconds: float = 10.0
    """How long each phase lasts: before the failure, during it, after it."""


SHORTEST: Final = Scale(calls=100, at_once=20, others=2, seconds=1.0)
"""For a test of the bench itself."""
