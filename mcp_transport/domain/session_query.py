"""An operator's query for sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from mcp_transport.domain.session import Session

__all__ = ["ACTIVE_SECONDS", "EVERYTHING", "ORDERS", "SessionQuery", "State", "client_of", "search_terms", "state_of"]

MAX_TERM: Final = 100
"""Characters of a search term that are compared."""

ACTIVE_SECONDS: Final = 60.0
"""How long after its last request a session counts as active."""

ORDERS: Final = ("last_seen", "created", "requests", "errors")
"""The keys that sessions can be ordered by; a "-" prefix means descending."""


class State(StrEnum):
    """The state of a session: the first one that applies."""

    BUSY = "busy"
    """It has requests in flight."""
    OPENING = "opening"
    """The client has not sent `notifications/initialized` yet."""
    ACTIVE = "active"
    """It was used within the last minute."""
    IDLE = "idle"


def state_of(session: Session, now: float) -> State:
    """Return the state of a listed session; `now` is in seconds since the epoch."""
    if session.calls:
        return State.BUSY
    if not session.initialized:
        return State.OPENING
    return State.ACTIVE if now - session.last_seen < ACTIVE_SECONDS else State.IDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuery:
    """The criteria that sessions must match; empty ones are ignored."""

    text: str = ""
    """A case-insensitive prefix of the user's name, the client's name, the address or the short id."""
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
    def term(self) -> str:
        """Return the text in the form of `search_terms`."""
        return _normalize(self.text)

    @property
    def values(self) -> dict[str, str]:
        """Return the criteria that must match exactly, by name."""
        names = ("user", "client", "protocol_version", "node")
        return {name: value for name in names if (value := getattr(self, name))}

    def matches(self, session: Session, now: float) -> bool:
        """Return whether a session matches at `now`."""
        if self.state and state_of(session, now) != self.state:
            return False
        if not self.created_after <= session.created <= (self.created_before or session.created):
            return False
        actual = {
            "user": session.user,
            "client": client_of(session),
            "protocol_version": session.protocol_version,
            "node": session.node,
        }
        is_exact = all(actual[name] == value for name, value in self.values.items())
        return is_exact and (not self.term or any(term.startswith(self.term) for term in search_terms(session)))


EVERYTHING = SessionQuery()


def client_of(session: Session) -> str:
    """Return the name and version that a client reported, as one text."""
    info = [session.client_info.get(member) for member in ("name", "version")]
    return " ".join(text for text in info if isinstance(text, str) and text)[:MAX_TERM]


def search_terms(session: Session) -> Iterator[str]:
    """Yield the texts that a search matches against."""
    for text in (session.user, client_of(session), session.address, session.key):
        if term := _normalize(text):
            yield term


def _normalize(text: str) -> str:
    """Return a text in lower case, without NUL, which separates terms and keys in an index."""
    return text.replace("\0", " ").strip().lower()[:MAX_TERM]
