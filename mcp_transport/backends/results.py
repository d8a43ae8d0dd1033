"""Results and errors of the backends' operations on sessions and streams."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "Appended",
    "Attached",
    "Claimed",
    "Closing",
    "Emitted",
    "Entered",
    "Event",
    "Holder",
    "HolderChanged",
    "NoRoom",
    "RateLimited",
    "StreamOver",
    "UnknownStream",
]


class NoRoom(Exception):
    """Raised for a new session whose principal has reached its limit, with a request in flight in each session."""


class HolderChanged(LookupError):
    """Raised for a stream that another response holds since `epoch`."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"taken over in epoch {epoch}")
        self.epoch = epoch


class RateLimited(Exception):
    """Raised for a POST beyond a rate limit: the position of the charge that refuses it, and its bucket's fill."""

    def __init__(self, position: int, fill: float) -> None:
        super().__init__(f"charge {position} of the request is refused")
        self.position, self.fill = position, fill


class StreamOver(LookupError):
    """Raised for a stream that has ended, with nothing left to send."""


class UnknownStream(LookupError):
    """Raised for a stream that the store does not have, or has lost."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a stream's log: its number and the JSON message, or `b""` for an end without a message."""

    seq: int
    payload: bytes
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Holder:
    """The node that has the client's socket of a stream, and the epoch in which it took the stream over."""

    node: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Emitted:
    """A message that was added to a GET stream: its number, and the stream's holder, if any."""

    seq: int
    holder: Holder | None


@dataclass(frozen=True, slots=True)
class Entered:
    """A session that admitted a POST; `running` are requests in flight with the same id or idempotency key."""

    session: Session
    running: tuple[InFlightRequest, ...] = ()
    cancelled: frozenset[RequestId] = frozenset()
    """Ids whose cancellation arrived before their request."""
    ended_digest: bytes | None = None
    """The request's digest if the stream of its idempotency key has ended and is stored; b"" if it is unknown."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The result of appending a writer's events."""

    holder: Holder | None = None
    """The node that has the stream's socket."""
    fenced: bool = False
    """Nothing was stored: another node has become the writer of this stream."""
    missing: int = 0
    """Nothing was stored: the log lacks events from this number on, and the writer may still have them."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A stream claimed from a dead writer: its unfinished requests, and the next event number."""

    session: Session
    requests: tuple[InFlightRequest, ...]
    next: int
    losses: int = 1
    """How many of its writers have died."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A stream with a new holder: the events that the client lacks, and where to continue."""

    session: Session
    holder: Holder
    previous: Holder | None
    events: tuple[Event, ...]
    cursor: int
    """The client has everything up to this number."""
    ended: bool = False
    """Has the stream ended, with or without events left to send?"""
    lost: int = 0
    """How many events the log no longer has."""
    writer: str = ""
    """The node that runs the stream's calls, until it has ended."""
    last_broadcast: str = ""
    """The number of the last broadcast that was added to a GET stream."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A session that was closed, and the nodes to notify."""

    session: Session
    nodes: frozenset[str]
