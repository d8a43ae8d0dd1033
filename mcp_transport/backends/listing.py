"""Filter, sort and summarize sessions that are all in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any, Final

from mcp_transport.backends.records import Facets, Overview, Page
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import AGES, SessionQuery, exact_values, state_of

__all__ = ["MAX_COMMON_VALUES", "MAX_VALUES", "NEW_SESSION_SECONDS", "commonest", "facets_of", "page_of", "summarize"]

NEW_SESSION_SECONDS: Final = 60.0
"""For how long a session counts as new."""
MAX_COMMON_VALUES: Final = 20
"""How many of the commonest values a summary lists for each field."""
MAX_VALUES: Final = 100
"""How many of the commonest values the facets list for each field."""


def page_of(sessions: Iterable[Session], now: float, start: int, limit: int, query: SessionQuery, order: str) -> Page:
    """Return a page of the sessions that match a query, in one of `domain.session_query.ORDERS`."""
    matches = [session for session in sessions if not query or query.matches(session, now)]
    matches.sort(key=lambda session: _sort_key(session, order.removeprefix("-")), reverse=order.startswith("-"))
    return Page(tuple(matches[start : start + limit]), len(matches))


def summarize(sessions: Sequence[Session], now: float) -> Overview:
    """Summarize sessions."""
    durations = [max(0.0, session.last_seen - session.created) for session in sessions]
    return Overview(
        total=len(sessions),
        values=_commonest_values(sessions, MAX_COMMON_VALUES),
        opened=sum(now - session.created < NEW_SESSION_SECONDS for session in sessions),
        mean_duration=fmean(durations) if durations else 0.0,
        median_duration=median(durations) if durations else 0.0,
        sampled=len(durations),
    )


def _sort_key(session: Session, name: str) -> tuple[Any, ...]:
    """Return the key to sort a session by; of equal sessions, the last used one counts as greatest."""
    return getattr(session, name), session.last_seen, session.key


def facets_of(sessions: Iterable[Session], now: float) -> Facets:
    """Count the values that sessions can be filtered by."""
    listed = list(sessions)
    states = Counter(str(state_of(session, now)) for session in listed)
    ages = {
        name: sum((session.created >= now - seconds) == (bound == "created_after") for session in listed)
        for name, (bound, seconds) in AGES.items()
    }
    values = _commonest_values(listed, MAX_VALUES)
    return {"state": tuple(states.items()), "age": tuple(ages.items()), **values}


def _commonest_values(sessions: Sequence[Session], limit: int) -> Facets:
    """Return the commonest values; of empty ones only that of an anonymous user."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("client", "user", "protocol_version", "node")}
    for session in sessions:
        for name, value in exact_values(session).items():
            if value or name == "user":
                counts[name][value] += 1
    return {name: commonest(counted.items(), limit) for name, counted in counts.items()}


def commonest(counted: Iterable[tuple[str, int]], limit: int) -> tuple[tuple[str, int], ...]:
    """Return the values with the highest counts."""
    return tuple(sorted(counted, key=lambda item: (-item[1], item[0]))[:limit])
