"""The protocol revisions and their differences, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["REVISIONS", "Revision", "negotiate", "quoted_version", "sessionful", "sessionless"]

_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A protocol revision and its transport rules."""

    name: str
    sessionful: bool
    """Does it have sessions, which begin with `initialize`?"""
    batches: bool = False
    """May a POST body be an array of messages?"""
    polling: bool = False
    """Does a stream begin with a priming event, so that the server may close it and let the client poll?"""


REVISIONS: Final = {
    revision.name: revision
    for revision in (
        Revision(name="2025-03-26", sessionful=True, batches=True),
        Revision(name="2025-06-18", sessionful=True),
        Revision(name="2025-11-25", sessionful=True, polling=True),
        Revision(name="2026-07-28", sessionful=False),
    )
}


@lru_cache
def sessionful(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those revisions of `names` that have sessions, oldest first."""
    return tuple(sorted(name for name in names if REVISIONS[name].sessionful))


@lru_cache
def sessionless(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those revisions of `names` that have no sessions, oldest first."""
    return tuple(sorted(name for name in names if not REVISIONS[name].sessionful))


def quoted_version(requested: object) -> str:
    """Return the requested version for an error message, truncated; "" if it is not a string."""
    return requested[:_MAX_NAME] if isinstance(requested, str) else ""


def negotiate(requested: object, supported: tuple[str, ...]) -> str:
    """Return the version for the result of `initialize`: the requested one, else the newest supported one.

    An unsupported request is not an error (2025-11-25, basic/lifecycle, "Version Negotiation").
    `supported` must hold at least one sessionful revision.
    """
    offered = sessionful(supported)
    return requested if isinstance(requested, str) and requested in offered else offered[-1]
