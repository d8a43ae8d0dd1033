"""The contract every session backend keeps; `tests/backends/contract.py` is its test.

Rules that hold for all of them (and make any node able to serve any session):

* The session record is the only authority. A closed or expired session refuses everything.
* A session answers its own principal only; to another it does not exist.
* Event numbers of a stream are contiguous from 1. The log is the truth, messages between nodes are wake-ups.
* A stream has one holder, with an epoch that rises at each take-over.
* A store that does not answer raises `BackendError`; it never looks like an absent session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_transport.protocol.inbox import Broadcast, NodeMessage
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.protocol.session import Flight, Session

__all__ = ["Attached", "Backend", "Closing", "Deliver", "Entered", "Event", "Holder", "Page"]

Deliver = Callable[[NodeMessage], None]


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
class Entered:
    """A session that admitted a POST; `running` are flights whose id is taken already."""

    session: Session
    running: tuple[Flight, ...] = ()
    cancelled: frozenset[RequestId] = frozenset()
    """Ids whose cancellation came before their request."""


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


@dataclass(frozen=True, slots=True)
class Closing:
    """A session that ended, and the nodes to tell."""

    session: Session
    nodes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the sessions, newest first, and how many there are."""

    sessions: tuple[Session, ...]
    total: int


class Backend(ABC):
    """Stores sessions and streams, and carries messages between nodes."""

    supports_listing: bool = False
    """Can it list sessions?"""
    shares_sessions: bool = False
    """Do other processes see a session?"""
    shares_streams: bool = False
    """Do other processes see a stream's log, and get messages sent to their nodes?"""

    # -- nodes ---------------------------------------------------------------------------------------

    @abstractmethod
    async def start(self, node: str, deliver: Deliver) -> None:
        """Join as `node`; messages for it are handed to `deliver`, which does not wait."""

    @abstractmethod
    async def stop(self, node: str) -> None:
        """Leave."""

    @abstractmethod
    async def ping(self) -> None:
        """Return when the store answers. Raises: BackendError."""

    @abstractmethod
    async def send(self, node: str, message: NodeMessage) -> None:
        """Deliver `message` to `node`; a node that is gone gets nothing."""

    @abstractmethod
    async def broadcast(self, message: Broadcast) -> None:
        """Deliver `message` to every node."""

    # -- sessions ------------------------------------------------------------------------------------

    @abstractmethod
    async def open(self, session: Session) -> tuple[str, ...]:
        """Store a new session; return the keys of idle ones that had to make room (cap per principal)."""

    @abstractmethod
    async def enter(self, key: str, principal: str, node: str, flights: Sequence[Flight] = ()) -> Entered | None:
        """Admit a POST: slide the session's end, register `flights` unless one of their ids is taken.

        Return None for a session that is unknown, ended, expired, or another principal's.
        """

    @abstractmethod
    async def leave(self, key: str, request_ids: Sequence[RequestId], errors: int = 0) -> None:
        """Forget flights that ended, `errors` of them badly."""

    @abstractmethod
    async def update(self, key: str, **changes: Any) -> None:
        """Change members of a session's record."""

    @abstractmethod
    async def subscribe(self, key: str, uri: str, wanted: bool, limit: int) -> bool:
        """Add a URI to the session's subscriptions, or take it out; return whether it fits under `limit`."""

    @abstractmethod
    async def touch(self, key: str) -> bool:
        """Slide the session's end; return whether it still lives."""

    @abstractmethod
    async def close(self, key: str, principal: str | None) -> Closing | None:
        """End a session with its streams and state, for its `principal` or, with None, for an operator."""

    @abstractmethod
    async def get(self, key: str) -> Session | None:
        """Return a live session's record."""

    @abstractmethod
    async def flights(self, key: str) -> tuple[Flight, ...]:
        """Return the requests in flight, as far as this process can see them."""

    async def sessions(self, offset: int = 0, limit: int = 100) -> Page:
        """Return a page of live sessions, last seen first."""
        raise NotImplementedError(f"{type(self).__name__} cannot list sessions: use a backend that can")

    # -- the state that tools keep -------------------------------------------------------------------

    @abstractmethod
    async def read_state(self, key: str) -> dict[str, bytes]:
        """Return everything a session's tools have stored."""

    @abstractmethod
    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        """Store or, with None, drop one value; return whether the name was there before."""

    # -- calls and streams ---------------------------------------------------------------------------

    @abstractmethod
    async def cancel(self, key: str, request_id: RequestId) -> Flight | None:
        """Find the node that runs a request, or remember the cancellation for a request yet to come."""

    @abstractmethod
    async def append(self, key: str, stream: str, events: Sequence[Event], node: str = "") -> Holder | None:
        """Add a writer's numbered events to a stream's log; return who holds its socket.

        The first call creates the stream; naming a `node` makes it the first holder.
        """

    @abstractmethod
    async def emit(self, key: str, payload: bytes) -> Holder | None:
        """Number a message and add it to the session's GET stream; return who holds its socket."""

    @abstractmethod
    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        """Take a stream over: after event `after`, or after what its last holder delivered.

        Return None for a session that is unknown to `principal`. Raises: LookupError for a stream that is.
        """

    @abstractmethod
    async def read(self, key: str, stream: str, after: int) -> tuple[tuple[Event, ...], int]:
        """Return the logged events after `after`, and how many before them are lost.

        Raises: LookupError when nothing can come any more: the stream is unknown, or over at `after`.
        """

    @abstractmethod
    async def mark(self, key: str, stream: str, delivered: int) -> None:
        """Note that everything up to event `delivered` was handed to a socket."""
