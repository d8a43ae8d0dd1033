"""Values that operations of staff return, in addition to the records of backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcp_transport.backends.records import StreamRecord
from mcp_transport.domain.history import HistoryEntry
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.domain.stream_messages import StreamMessage

__all__ = ["NewMessages", "SessionDetail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDetail:
    """A session with its calls, streams and history, as far as this process can see them."""

    session: Session
    calls: tuple[InFlightRequest, ...]
    streams: tuple[StreamRecord, ...]
    state_keys: tuple[str, ...]
    """The names of the values that tools store in the session."""
    subscriptions: tuple[str, ...] = ()
    """URIs of `resources/subscribe`."""
    history: tuple[HistoryEntry, ...] = ()
    """The newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessages:
    """Messages on a session's streams, and the last number read of each stream."""

    messages: tuple[StreamMessage, ...]
    cursor: Mapping[str, int]
