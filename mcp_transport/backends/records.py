"""Records of nodes, streams and sessions that backends return to operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_transport.domain.metrics import Load
from mcp_transport.domain.session import Session
from mcp_transport.domain.stream_messages import Marks

__all__ = ["Facets", "NodeRecord", "Overview", "Page", "SessionCounts", "StreamRecord"]


Facets = Mapping[str, tuple[tuple[str, int], ...]]
"""For a filter, its values with the number of all live sessions that have each, the commonest first.

The filters: `user` (empty: anonymous), `client`, `protocol_version` and `node`; and `state` and `age`, if the backend
can count these.
"""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A live node: where it runs, how many POSTs it is serving, whether it is draining, and its process' load."""

    name: str
    host: str
    pid: int
    calls: int = 0
    draining: bool = False
    age: float = 0.0
    """Seconds since its last heartbeat."""
    load: Load = field(default_factory=Load)
    """That of its process at its last heartbeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecord:
    """A stream of a session: its writer, its holder, and its newest event."""

    name: str
    writer: str = ""
    """The node that runs its calls; empty for a GET stream, and if it is unknown."""
    holder: str = ""
    """The node that has the client's socket; empty if none has."""
    epoch: int = 0
    last: int = 0
    """The number of its newest event."""
    bytes: int = 0
    ended: bool = False
    """Has it ended, and is it stored only for clients that reconnect?"""
    marks: Marks = ()
    """When its newest messages were stored."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of an ordered list of sessions, and the length of the list."""

    sessions: tuple[Session, ...]
    total: int
    is_exact: bool = True
    """False if `total` is an estimate, since counting would take too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCounts:
    """How many sessions there are, as of the last heartbeat."""

    total: int | None = None
    """All live sessions of the store; None if it cannot count them."""
    served: int | None = None
    """Those that this process serves; None if that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A summary of all sessions; durations are seconds from a session's creation to its last use."""

    total: int = 0
    values: Facets = field(default_factory=dict)
    """The commonest values of `client`, `user`, `protocol_version` and `node`."""
    opened: int = 0
    """Live sessions that were created within the last minute."""
    mean_duration: float = 0.0
    median_duration: float = 0.0
    sampled: int = 0
    """How many sessions the durations were computed from."""
    memory: int = 0
    """Bytes that the store uses, including other data in it; 0 if unknown."""
    memory_limit: int = 0
    """Bytes that it may use; 0 for no limit, or if unknown."""
