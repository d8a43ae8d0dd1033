"""Filter, sort and summarize sessions that are all in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any, Final

from mcp_transport.backends.records import Overview, Page
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import SessionQuery, client_of

__all__ = ["MAX_COMMON_VALUES", "NEW_SESSION_SECONDS", "page_of", "summarize"]

NEW_SESSION_SECONDS: Final = 60.0
"""For how long a session counts as new."""
MAX_COMMON_VALUES: Final = 20
"""How many of the commonest values a summary lists for each field."""


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
        values={
            "client": _commonest(client_of(session) for session in sessions),
            "user": _commonest(session.user for session in sessions),
            "protocol_version": _commonest(session.protocol_version for session in sessions),
            "node": _commonest(session.node for session in sessions),
        },
        opened=sum(now - session.created < NEW_SESSION_SECONDS for session in sessions),
        mean_duration=fmean(durations) if durations else 0.0,
        median_duration=median(durations) if durations else 0.0,
        sampled=len(durations),
    )


def _sort_key(session: Session, name: str) -> tuple[Any, ...]:
    """Return the key to sort a session by; of equal sessions, the last used one counts as greatest."""
    return getattr(session, name), session.last_seen, session.key


def _commonest(values: Iterable[str]) -> tuple[tuple[str, int], ...]:
    counted = Counter(value for value in values if value)
    return tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:MAX_COMMON_VALUES])
