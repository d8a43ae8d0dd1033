"""The contract every session backend keeps; `tests/backends/contract.py` is its test.

Rules that hold for all of them (and make any node able to serve any session):

* The session record is the only authority. A closed or expired session refuses everything.
* A session answers its own principal only; to another it does not exist.
* Event numbers of a stream are contiguous from 1. The log is the truth, messages between nodes are wake-ups.
* A stream has one holder, with an epoch that rises at each take-over.
* A store that does not answer raises `BackendError`; it never looks like an absent session.
* A record that cannot be read raises `Unreadable` and costs no other session; listings leave it out and log it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

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
    NoRoom,
    StreamOver,
    TakenOver,
    UnknownStream,
)
from mcp_transport.domain.history import Ending, HistoryEntry
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "CANCEL_KEEP",
    "NOTHING",
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
    "NoRoom",
    "NodeRecord",
    "Overview",
    "Page",
    "StreamOver",
    "StreamRecord",
    "TakenOver",
    "UnknownStream",
]

Deliver = Callable[[NodeMessage], None]

# Seconds that a cancellation waits for its request. Both were sent within the blink of a client, and only a balancer
# that sent them to two nodes can turn them round. What comes later is a request that uses the id again.
CANCEL_KEEP: Final = 2.0

NOTHING: Final[Mapping[RequestId, Ending]] = MappingProxyType({})


class Backend(ABC):
    """Stores sessions and streams, and carries messages between nodes."""

    supports_listing: bool = False
    """Can it list sessions?"""
    shares_sessions: bool = False
    """Do other processes see a session?"""
    shares_streams: bool = False
    """Do other processes see a stream's log, and get messages sent to their nodes?"""
    restores_sessions: bool = False
    """Can a session be rebuilt from what its id says, after the store has lost it?"""
    measure: Callable[[], ProcessMetrics] = ProcessMetrics
    """Returns what this process counted; whoever counts sets it."""

    @property
    def keeps_answers(self) -> bool:
        """Tell whether whoever finds a session also finds the answers kept under its idempotency keys."""
        return False

    # -- nodes ---------------------------------------------------------------------------------------

    @abstractmethod
    async def start(self, node: str, deliver: Deliver) -> None:
        """Join as `node`; messages for it are handed to `deliver`, which does not wait. Raises: BackendError."""

    @abstractmethod
    async def stop(self, node: str) -> None:
        """Leave, and tell nobody of a store that does not answer."""

    async def retire(self, node: str) -> None:
        """Let the others know that `node` is about to be stopped."""
        return None

    async def nodes(self) -> tuple[NodeRecord, ...]:
        """Return the living nodes, as far as other processes can see them."""
        return ()

    def is_in_doubt(self, node: str) -> bool:
        """Tell whether others may have taken `node` for dead, and its streams over, without its knowing."""
        return False

    def failure(self, node: str) -> BaseException | None:
        """Return why `node` does not hear the others, or is not heard by them; None while it does and is."""
        return None

    async def disconnect(self) -> None:  # noqa: B027 (most have nothing to close)
        """Close what the running loop has open to the store; the next operation opens it again."""

    @abstractmethod
    async def ping(self) -> None:
        """Return when the store answers. Raises: BackendError."""

    @abstractmethod
    async def send(self, node: str, message: NodeMessage) -> bool:
        """Deliver `message` to `node`; return False for a node that is gone.

        Raises: BackendError, also when the node has more messages waiting than it may.
        """

    @abstractmethod
    async def broadcast(self, message: Broadcast) -> None:
        """Number `message`, keep it for a while for sessions that no node holds, deliver it to every node."""

    @abstractmethod
    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        """Return the broadcasts after the one with the number `after` that are still kept, in order."""

    @abstractmethod
    async def last_broadcast(self) -> str:
        """Return the number of the newest broadcast, or an empty string when there is none."""

    # -- sessions ------------------------------------------------------------------------------------

    @abstractmethod
    async def open(self, session: Session) -> tuple[str, ...]:
        """Store a new session; return the keys of idle ones that had to make room (cap per principal).

        Raises: NoRoom when there are no idle ones; nothing is stored then, whatever other nodes do at the same time.
        """

    async def restore(self, session: Session) -> bool:
        """Store a session again that the store has lost, unless it was closed or has expired; return whether."""
        return False

    @abstractmethod
    async def enter(
        self, key: str, principal: str, node: str, flights: Sequence[InFlightRequest] = ()
    ) -> Entered | None:
        """Admit a POST: slide the session's end, register `flights` unless one of their ids is taken.

        A flight whose stream belongs to an idempotency key (`protocol.idempotency.is_keyed`) is alone. It is not
        registered either while another flight has that stream, which then is the one that is running, or where the
        stream has ended and is kept, which goes first. The digest is that of the flight which `append` has ended.
        Return None for a session that is unknown, ended, expired, or another principal's.
        """

    async def settled(self) -> None:  # noqa: B027 (most have nothing under way)
        """Return when nothing that was begun and cancelled can take effect any more."""

    @abstractmethod
    async def leave(self, key: str, endings: Mapping[RequestId, Ending], *, stream: str = "") -> bool:
        """Forget flights that ended, and note how; return whether a node holds their `stream`.

        Naming a `stream` leaves alone what another POST runs under the same ids.
        """

    @abstractmethod
    async def update(self, key: str, **changes: Any) -> None:
        """Change members of a session's record."""

    @abstractmethod
    async def subscribe(self, key: str, uri: str, wanted: bool, limit: int, max_bytes: int) -> bool:
        """Add a URI to the session's subscriptions, or take it out; return whether it fits.

        There may be `limit` of them, of `max_bytes` bytes of UTF-8 in all. They stand beside the record: none of the
        other operations reads them but `emit` of a broadcast.
        """

    @abstractmethod
    async def subscriptions(self, key: str) -> frozenset[str]:
        """Return the URIs that a live session has subscribed to."""

    @abstractmethod
    async def touch(self, key: str, stream: str = "") -> bool:
        """Slide the session's end, and that of an open `stream`'s log; return whether the session still lives."""

    @abstractmethod
    async def close(self, key: str, principal: str | None) -> Closing | None:
        """End a session with its streams and state, for its `principal` or, with None, for an operator."""

    def forget(self, key: str) -> None:  # noqa: B027 (some have nothing)
        """Drop what this process has of a session that is over."""

    @abstractmethod
    async def get(self, key: str) -> Session | None:
        """Return a live session's record."""

    @abstractmethod
    async def flights(self, key: str) -> tuple[InFlightRequest, ...]:
        """Return the requests in flight, as far as this process can see them."""

    async def streams(self, key: str) -> tuple[StreamRecord, ...]:
        """Return a live session's streams, as far as this process can see them."""
        return ()

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        """Return what happened in a live session, the newest first, as far as this process can see it."""
        return ()

    async def sessions(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        """Return a page of the live sessions that a query means, in one of `domain.session_query.ORDERS`."""
        raise NotImplementedError(f"{type(self).__name__} cannot list sessions: use a backend that can")

    async def overview(self) -> Overview:
        """Sum all live sessions up."""
        raise NotImplementedError(f"{type(self).__name__} cannot list sessions: use a backend that can")

    async def numbers(self) -> tuple[ProcessMetrics, ...]:
        """Return what each process counted, as far as this one can see it."""
        return (self.measure(),)

    # -- the state that tools keep -------------------------------------------------------------------

    @abstractmethod
    async def read_state(self, key: str) -> dict[str, bytes]:
        """Return everything a session's tools have stored."""

    @abstractmethod
    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        """Store or, with None, drop one value; return whether the name was there before."""

    # -- calls and streams ---------------------------------------------------------------------------

    @abstractmethod
    async def cancel(self, key: str, principal: str, request_id: RequestId) -> InFlightRequest | None:
        """Find the node that runs a request, or remember the cancellation for a request yet to come.

        A cancellation of a request that ended within CANCEL_KEEP seconds came too late, and is not remembered.
        """

    @abstractmethod
    async def append(
        self,
        key: str,
        stream: str,
        events: Sequence[Event],
        *,
        writer: str = "",
        holder: str = "",
        refills: bool = False,
        leaving: Mapping[RequestId, Ending] = NOTHING,
    ) -> Appended | None:
        """Add a writer's numbered events to a stream's log; return None for a session that is over.

        The first call creates the stream; naming a `holder` makes that node the first one. A writer that `refills`
        is told of a hole instead of having it counted as lost. `leaving` is as for `leave`.
        """

    @abstractmethod
    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Emitted | None:
        """Number a message and add it to the session's GET stream; return None if it was not added.

        A `broadcast` is added once, and only if the session wants it.
        """

    @abstractmethod
    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        """Take a stream over: after event `after`, or after what its last holder delivered.

        Return None for a session that is unknown to `principal`. Raises: StreamOver for a stream that has ended with
        no message after that event, which is not taken over; UnknownStream.
        """

    @abstractmethod
    async def read(self, key: str, stream: str, after: int, *, epoch: int = 0) -> tuple[tuple[Event, ...], int]:
        """Return the logged events after `after`, and how many before them are lost.

        Raises: UnknownStream; TakenOver when another response has the stream since a later epoch than `epoch`, if
            that is given; StreamOver when it has ended with event `after`.
        """

    @abstractmethod
    async def mark(self, key: str, stream: str, delivered: int, heard: str = "", *, left: int = 0) -> None:
        """Note that everything up to event `delivered`, and broadcast `heard`, was handed to a socket.

        With `left`, the socket that had the stream since that epoch is gone.

        A store that has lost the newest events goes on behind them, so that no number is used twice.
        """

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        """Have `node` write a stream whose `writer` died; return None if it lives, or another node was first.

        The old writer is fenced from here on.
        """
        return None

    async def writer(self, key: str, stream: str) -> str:
        """Return the node that writes a stream, or an empty string when that is not known."""
        return ""

    async def watch(self, node: str, key: str, stream: str) -> None:
        """Have a stream's calls found after `node`'s death, even if they were begun a moment before."""
        return None
