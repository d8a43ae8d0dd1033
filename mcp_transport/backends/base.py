"""A session backend, and the types of its operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcp_transport.backends.contracts import (
    CANCEL_KEEP_SECONDS,
    MAX_BROADCASTS,
    MAX_CANCELS,
    NO_ENDINGS,
    Deliver,
    Measure,
    NodeBus,
    SessionIndex,
    SessionStore,
    StreamLog,
)
from mcp_transport.backends.records import NodeRecord, Overview, Page, StreamRecord
from mcp_transport.backends.results import (
    Appended,
    Attached,
    Claimed,
    Closing,
    Emitted,
    Entered,
    Event,
    Holder,
    HolderChanged,
    NoRoom,
    StreamOver,
    UnknownStream,
)
from mcp_transport.domain.session_query import EVERYTHING

__all__ = [
    "CANCEL_KEEP_SECONDS",
    "EVERYTHING",
    "MAX_BROADCASTS",
    "MAX_CANCELS",
    "NO_ENDINGS",
    "Appended",
    "Attached",
    "Backend",
    "Claimed",
    "Closing",
    "Deliver",
    "Emitted",
    "Entered",
    "Event",
    "Holder",
    "HolderChanged",
    "Measure",
    "NoRoom",
    "NodeBus",
    "NodeRecord",
    "Overview",
    "Page",
    "SessionIndex",
    "SessionStore",
    "StreamLog",
    "StreamOver",
    "StreamRecord",
    "UnknownStream",
]


@dataclass(frozen=True, slots=True)
class Backend:
    """A session backend: the parts in which an endpoint stores its sessions."""

    sessions: SessionStore
    streams: StreamLog
    bus: NodeBus
    index: SessionIndex | None = None
    """None if the backend cannot list sessions: the admin and the REST API then show none."""

    def __init_subclass__(cls, **options: Any) -> None:
        raise TypeError(
            f"{cls.__qualname__} must inherit from the contracts of its parts: SessionStore, StreamLog, ..."
        )

    @classmethod
    def of(cls, store: Any) -> Backend:
        """Return the backend whose parts are one object, which implements their contracts."""
        return cls(store, store, store, store if isinstance(store, SessionIndex) else None)

    @property
    def shares_sessions(self) -> bool:
        """Return whether other processes can read a session."""
        return self.sessions.shares_sessions

    @property
    def shares_streams(self) -> bool:
        """Return whether other processes can read a stream's log, and receive messages for their nodes."""
        return self.streams.shares_streams
