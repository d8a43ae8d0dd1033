"""What each protocol revision changes, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["REVISIONS", "Revision", "negotiate", "quoted_version", "sessionful", "sessionless"]

_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One protocol revision and the transport rules that are its own."""

    name: str
    sessionful: bool
    """Does a conversation begin with `initialize` and live in a session?"""
    batches: bool = False
    """May a POST body be an array of messages?"""
    polling: bool = False
    """Does a stream begin with a priming event, so that the server may close the socket and be polled?"""


REVISIONS: Final = {
    revision.name: revision
    for revision in (
        Revision(name="2025-03-26", sessionful=True, batches=True),
        Revision(name="2025-06-18", sessionful=True),
        Revision(name="2025-11-25", sessionful=True, polling=True),
        Revision(name="2026-07-28", sessionful=False),
    )
}


@lru_cache  # of the few settings there are
def sessionful(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the revisions of `names` that live in a session, oldest first."""
    return tuple(sorted(name for name in names if REVISIONS[name].sessionful))


@lru_cache
def sessionless(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the revisions of `names` in which every request stands alone, oldest first."""
    return tuple(sorted(name for name in names if not REVISIONS[name].sessionful))


def quoted_version(requested: object) -> str:
    """Return what a refusal repeats of the version that a client asked for."""
    return requested[:_MAX_NAME] if isinstance(requested, str) else ""


def negotiate(requested: object, supported: tuple[str, ...]) -> str:
    """Pick the version an `initialize` is answered with: the requested one, else the newest supported.

    An unsupported request is not an error (2025-11-25, basic/lifecycle, "Version Negotiation").
    `supported` must hold at least one sessionful revision.
    """
    offered = sessionful(supported)
    return requested if isinstance(requested, str) and requested in offered else offered[-1]
