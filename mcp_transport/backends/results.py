"""What a backend answers to whoever runs calls and holds streams."""

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
    "NoRoom",
    "StreamOver",
    "TakenOver",
    "UnknownStream",
]


class NoRoom(Exception):
    """Raised for a new session whose principal has as many as it may, each of them with a request in flight."""


class TakenOver(LookupError):
    """Raised for a stream that another response holds, since `epoch`."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"taken over in epoch {epoch}")
        self.epoch = epoch


class StreamOver(LookupError):
    """Raised for a stream that has ended, with nothing left to send."""


class UnknownStream(LookupError):
    """Raised for a stream that the store does not know, or has lost."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a stream's log: its number and the JSON message; an end without a message is `b""`."""

    seq: int
    payload: bytes
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Holder:
    """The node that has the client's socket of a stream, since which take-over."""

    node: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Emitted:
    """A message that was put on a GET stream: its number, and who holds the socket, if anybody does."""

    seq: int
    holder: Holder | None


@dataclass(frozen=True, slots=True)
class Entered:
    """A session that admitted a POST; `running` are flights whose id, or idempotency key, is taken already."""

    session: Session
    running: tuple[InFlightRequest, ...] = ()
    cancelled: frozenset[RequestId] = frozenset()
    """Ids whose cancellation came before their request."""
    ended_digest: bytes | None = None
    """Where the stream of an idempotency key has ended and is kept: the digest of its request, b"" if not known."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a writer's events."""

    holder: Holder | None = None
    """Who has the stream's socket."""
    fenced: bool = False
    """Nothing was stored: another node writes this stream by now."""
    missing: int = 0
    """Nothing was stored: the log lacks events from this number on, and the writer may still have them."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A stream whose writer died, taken over: its unfinished requests, and the number to go on from."""

    session: Session
    flights: tuple[InFlightRequest, ...]
    next: int
    losses: int = 1
    """How many nodes were lost while they wrote it."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A stream taken over: what the client has not seen, and from where to go on."""

    session: Session
    holder: Holder
    previous: Holder | None
    events: tuple[Event, ...]
    cursor: int
    """The client has everything up to this number."""
    ended: bool = False
    """Is the stream over, with or without something left to send?"""
    lost: int = 0
    """How many events the log no longer holds."""
    writer: str = ""
    """The node that runs the stream's calls, while it is not over."""
    heard: str = ""
    """The last broadcast that was put on a GET stream."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A session that ended, and the nodes to tell."""

    session: Session
    nodes: frozenset[str]
