"""An operator's query for sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mcp_transport.domain.session import Session

__all__ = [
    "ACTIVE_SECONDS",
    "AGES",
    "EVERYTHING",
    "ORDERS",
    "SessionQuery",
    "State",
    "client_of",
    "exact_values",
    "search_terms",
    "state_of",
]

MAX_TERM: Final = 100
"""Characters of a search term that are compared."""

ACTIVE_SECONDS: Final = 60.0
"""How long after its last request a session counts as active."""

ORDERS: Final = ("last_seen", "created", "requests", "errors")
"""The keys that sessions can be ordered by; a "-" prefix means descending."""

_DAY_SECONDS: Final = 24 * 3600.0

AGES: Final[Mapping[str, tuple[str, float]]] = {
    "hour": ("created_after", 3600.0),
    "day": ("created_after", _DAY_SECONDS),
    "over-day": ("created_before", _DAY_SECONDS),
    "over-week": ("created_before", 7 * _DAY_SECONDS),
}
"""Ages that operators filter by: the field of `SessionQuery` that each sets, and the seconds before now."""


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
    """Case-insensitive: a part of the user's or the client's name, or a prefix of the address or the short id."""
    user: str = ""
    anonymous: bool = False
    """Only sessions without a user."""
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
    keys: frozenset[str] | None = None
    """Only these sessions; None for all."""

    def __bool__(self) -> bool:
        return self != EVERYTHING

    @property
    def term(self) -> str:
        """Return the text in the form of `search_terms`."""
        return _normalize(self.text)

    @property
    def values(self) -> dict[str, str]:
        """Return the criteria that must match exactly, by name; an anonymous session's user is empty."""
        names = ("user", "client", "protocol_version", "node")
        values = {name: value for name in names if (value := getattr(self, name))}
        return {**values, "user": ""} if self.anonymous else values

    def matches(self, session: Session, now: float) -> bool:
        """Return whether a session matches at `now`."""
        if self.state and state_of(session, now) != self.state:
            return False
        if not self.created_after <= session.created <= (self.created_before or session.created):
            return False
        if self.keys is not None and session.key not in self.keys:
            return False
        actual = exact_values(session)
        is_exact = all(actual[name] == value for name, value in self.values.items())
        return is_exact and self.finds(actual["user"], actual["client"], *search_terms(session))

    def finds(self, user: str, client: str, *terms: str) -> bool:
        """Return whether the text is a part of one of the names, or a prefix of one of the `search_terms`."""
        term = self.term
        if not term:
            return True
        is_part = any(term in _normalize(name) for name in (user, client))
        return is_part or any(text.startswith(term) for text in terms)


EVERYTHING = SessionQuery()


def client_of(session: Session) -> str:
    """Return the name and version that a client reported, as one text."""
    info = [session.client_info.get(member) for member in ("name", "version")]
    return " ".join(text for text in info if isinstance(text, str) and text)[:MAX_TERM]


def exact_values(session: Session) -> dict[str, str]:
    """Return the values of a session that filters compare, by the name of the filter."""
    return {
        "user": session.user,
        "client": client_of(session),
        "protocol_version": session.protocol_version,
        "node": session.node,
    }


def search_terms(session: Session) -> Iterator[str]:
    """Yield the texts that a search matches against."""
    for text in (session.user, client_of(session), session.address, session.key):
        if term := _normalize(text):
            yield term


def _normalize(text: str) -> str:
    """Return a text in lower case, without NUL, which separates terms and keys in an index."""
    return text.replace("\0", " ").strip().lower()[:MAX_TERM]
