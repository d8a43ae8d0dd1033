"""What an operator looks for among many sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from mcp_transport.domain.session import Session

__all__ = ["ACTIVE_SECONDS", "EVERYTHING", "ORDERS", "SessionQuery", "State", "client_of", "search_terms", "state_of"]

MAX_TERM = 100

ACTIVE_SECONDS: Final = 60.0
"""How long after its last request a session counts as active."""

ORDERS: Final = ("last_seen", "created", "requests", "errors")
"""What sessions can be ordered by; a "-" before it puts the greatest first."""


class State(StrEnum):
    """What a session is at; the first that fits."""

    BUSY = "busy"
    """Requests of it are in flight."""
    OPENING = "opening"
    """Its client has not said `notifications/initialized`, so far."""
    ACTIVE = "active"
    """It was used within the last minute."""
    IDLE = "idle"


def state_of(session: Session, now: float) -> State:
    """Tell what a listed session is at; `now` is in seconds since the epoch."""
    if session.calls:
        return State.BUSY
    if not session.initialized:
        return State.OPENING
    return State.ACTIVE if now - session.last_seen < ACTIVE_SECONDS else State.IDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuery:
    """Which sessions are asked for; what is empty does not matter."""

    text: str = ""
    """The beginning of a user's name, a client's, an address or a short id, in either case."""
    user: str = ""
    client: str = ""
    """The client's name and version, as `client_of` writes them."""
    protocol_version: str = ""
    node: str = ""
    """The node that served the last request."""
    state: str = ""
    """One of `State`."""
    created_after: float = 0.0
    """Seconds since the epoch."""
    created_before: float = 0.0

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def word(self) -> str:
        """Return the text as words begin with it."""
        return _word(self.text)

    @property
    def values(self) -> dict[str, str]:
        """Return what must be exactly so."""
        named = ("user", "client", "protocol_version", "node")
        return {name: value for name in named if (value := getattr(self, name))}

    def matches(self, session: Session, now: float) -> bool:
        """Tell whether a session is, `now`, among those that are asked for."""
        if self.state and state_of(session, now) != self.state:
            return False
        if not self.created_after <= session.created <= (self.created_before or session.created):
            return False
        known = {
            "user": session.user,
            "client": client_of(session),
            "protocol_version": session.protocol_version,
            "node": session.node,
        }
        exact = all(known[name] == value for name, value in self.values.items())
        return exact and (not self.word or any(word.startswith(self.word) for word in search_terms(session)))


EVERYTHING = SessionQuery()


def client_of(session: Session) -> str:
    """Return what a client calls itself, in one line."""
    named = [session.client_info.get(member) for member in ("name", "version")]
    return " ".join(text for text in named if isinstance(text, str) and text)[:MAX_TERM]


def search_terms(session: Session) -> Iterator[str]:
    """Yield what a session is found by."""
    for text in (session.user, client_of(session), session.address, session.key):
        if word := _word(text):
            yield word


def _word(text: str) -> str:
    """Write a text so that case makes no difference, without what an index uses as its own."""
    return text.replace("\0", " ").strip().lower()[:MAX_TERM]
