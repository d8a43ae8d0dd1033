"""What operators see of a backend: its nodes, and its sessions page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_transport.domain.session import Session

__all__ = ["NodeRecord", "Overview", "Page", "StreamRecord"]


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A living node: where it runs, how many POSTs it is serving, and whether it sends clients elsewhere."""

    name: str
    host: str
    pid: int
    calls: int = 0
    draining: bool = False
    age: float = 0.0
    """Seconds since it renewed its lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecord:
    """A stream of a session: who writes it, who has its socket, and how far it is."""

    name: str
    writer: str = ""
    """The node that runs its calls; empty for a GET stream, and where that is not known."""
    holder: str = ""
    """The node with the client's socket, as far as any has it."""
    epoch: int = 0
    last: int = 0
    """The number of its newest event."""
    bytes: int = 0
    ended: bool = False
    """Is it over, and kept only for clients that come back?"""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the sessions, last seen first, and how many there are."""

    sessions: tuple[Session, ...]
    total: int
    is_exact: bool = True
    """False where that would have taken too long to find out: there are about this many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All sessions, summed up; durations are seconds from a session's beginning to its last use."""

    total: int = 0
    values: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """For `client`, `user`, `protocol_version` and `node`: the commonest values, and how many sessions have each."""
    opened: int = 0
    """Sessions that began within the last minute, and live."""
    mean_duration: float = 0.0
    median_duration: float = 0.0
    sampled: int = 0
    """Of so many sessions the durations were looked at."""
    memory: int = 0
    """Bytes that the store holds, where that is known, with whatever else it stores."""
    memory_limit: int = 0
    """Bytes that it may hold; 0 for no limit, or where that is not known."""
