"""Finding, ordering and summing up sessions that are all at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any, Final

from mcp_transport.backends.records import Overview, Page
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import SessionQuery, client_of

__all__ = ["LATELY", "MOST_VALUES", "page_of", "sum_up"]

LATELY: Final = 60.0
"""For how many seconds a session counts as new."""
MOST_VALUES: Final = 20
"""So many values are listed, the commonest, of what sessions have in common."""


def page_of(
    sessions: Iterable[Session], now: float, offset: int, limit: int, query: SessionQuery, order: str
) -> Page:
    """Return a page of those that a query means, in one of `domain.session_query.ORDERS`."""
    found = [session for session in sessions if not query or query.matches(session, now)]
    found.sort(key=lambda session: _place(session, order.removeprefix("-")), reverse=order.startswith("-"))
    return Page(tuple(found[offset : offset + limit]), len(found))


def sum_up(sessions: Sequence[Session], now: float) -> Overview:
    """Sum sessions up."""
    durations = [max(0.0, session.last_seen - session.created) for session in sessions]
    return Overview(
        total=len(sessions),
        values={
            "client": _commonest(client_of(session) for session in sessions),
            "user": _commonest(session.user for session in sessions),
            "protocol_version": _commonest(session.protocol_version for session in sessions),
            "node": _commonest(session.node for session in sessions),
        },
        opened=sum(now - session.created < LATELY for session in sessions),
        mean_duration=fmean(durations) if durations else 0.0,
        median_duration=median(durations) if durations else 0.0,
        sampled=len(durations),
    )


def _place(session: Session, name: str) -> tuple[Any, ...]:
    """Return what a session is ordered by; of those that are alike, the one last seen counts as greatest."""
    return getattr(session, name), session.last_seen, session.key


def _commonest(values: Iterable[str]) -> tuple[tuple[str, int], ...]:
    counted = Counter(value for value in values if value)
    return tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:MOST_VALUES])
