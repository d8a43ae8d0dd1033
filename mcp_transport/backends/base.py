"""A session backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcp_transport.backends.contracts import NodeBus, SessionIndex, SessionStore, StreamLog
from mcp_transport.backends.rates import RateStore

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True)
class Backend:
    """A session backend: the parts in which an endpoint stores its sessions."""

    sessions: SessionStore
    streams: StreamLog
    bus: NodeBus
    index: SessionIndex | None = None
    """None if the backend cannot list sessions: the admin and the REST API then show none."""
    rates: RateStore | None = None
    """None if the backend counts nothing for rate limits: each process then counts alone."""

    def __init_subclass__(cls, **options: Any) -> None:
        raise TypeError(
            f"{cls.__qualname__} must inherit from the contracts of its parts: SessionStore, StreamLog, ..."
        )

    @classmethod
    def of(cls, store: Any) -> Backend:
        """Return the backend whose parts are one object, which implements their contracts."""
        index, rates = (
            store if isinstance(store, SessionIndex) else None,
            store if isinstance(store, RateStore) else None,
        )
        return cls(store, store, store, index, rates)

    @property
    def shares_sessions(self) -> bool:
        """Return whether other processes can read a session."""
        return self.sessions.shares_sessions

    @property
    def shares_streams(self) -> bool:
        """Return whether other processes can read a stream's log, and receive messages for their nodes."""
        return self.streams.shares_streams
