"""The four contracts of a session backend; `tests/backends/contract.py` is their test.

These rules let any node serve any session:

* The session record is the only authority. A closed or expired session refuses every operation.
* A session exists for its own principal only.
* Event numbers of a stream are contiguous from 1. The log is the truth, messages between nodes are wake-ups.
* A stream has one holder, whose epoch rises at each take-over.
* A store that does not answer raises `BackendError`; it never looks like an absent session.
* A record that cannot be read raises `Unreadable` and affects no other session; listings skip and log it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mcp_transport.backends.former_names import Contract
from mcp_transport.backends.records import Facets, NodeRecord, Overview, Page, SessionCounts, StreamRecord
from mcp_transport.backends.results import Appended, Attached, Claimed, Closing, Emitted, Entered, Event
from mcp_transport.domain.history import NO_ENDINGS, Endings, HistoryEntry
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.domain.rate_limit import Charge
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "CANCEL_KEEP_SECONDS",
    "MAX_BROADCASTS",
    "MAX_CANCELS",
    "Deliver",
    "Measure",
    "NodeBus",
    "Report",
    "SessionIndex",
    "SessionStore",
    "StreamLog",
]

Deliver = Callable[[NodeMessage], None]

# Seconds that an early cancellation waits for its request: they overtake each other on the way to two nodes.
CANCEL_KEEP_SECONDS: Final = 2.0

# The most cancellations that wait in a session, and the most broadcasts for sessions without a holder.
MAX_CANCELS: Final = 100
MAX_BROADCASTS: Final = 1000

Measure = Callable[[], ProcessMetrics]
"""Returns the metrics of this process."""

Report = Callable[[str, str, Mapping[str, object]], None]
"""Takes the name of a cluster event, the key of its session, and details for the log."""


class SessionStore(Contract, ABC):
    """Stores the records of sessions, their requests in flight, and the state that tools keep in them."""

    shares_sessions: bool = False
    """Can other processes read a session?"""
    restores_sessions: bool = False
    """Can a session that the store has lost be rebuilt from the content of its id?"""
    charges_at_entry: bool = False
    """Does `enter_charged` apply rate limits?"""
    has_homes: bool = False
    """Does `locate` want to know the region in which a session was opened?"""

    def locate(self, key: str, origin: Callable[[], str]) -> None:
        """Take note of where a session may be, before other operations: `origin` returns a region, "" if unknown."""
        return None

    def report_events_to(self, report: Report) -> None:
        """Have `report` called with the name of each cluster event that the store itself causes."""
        return None

    @abstractmethod
    async def ping(self) -> None:
        """Check that the store answers. Raises: BackendError."""

    async def disconnect(self) -> None:
        """Close the running loop's connections to the store; the next operation connects again."""

    @abstractmethod
    async def open(self, session: Session) -> tuple[str, ...]:
        """Store a new session; return the keys of the idle sessions that it evicts (limit per principal).

        Raises: NoRoom when none is idle. Nothing is stored then, whatever other nodes do at the same time.
        """

    async def restore(self, session: Session) -> bool:
        """Store a lost session again and return True, or return False if it was closed or has expired."""
        return False

    @abstractmethod
    async def enter(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest] = ()
    ) -> Entered | None:
        """Admit a POST: extend the session's life, and register `requests` unless one of their ids is in flight.

        A request whose stream belongs to an idempotency key (`protocol.idempotency.is_keyed`) is the only one. It is
        not registered while another request has that stream (which is then returned in `running`), or while the
        store keeps the ended stream, which takes precedence and has the digest of the request that `append` ended.
        Return None for a session that is unknown, closed, expired, or another principal's.
        """

    async def enter_charged(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest], charges: Sequence[Charge]
    ) -> Entered | None:
        """Enter, and charge all buckets of rate limits. Raises: RateLimited if one refuses; nothing changes then."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Wait until no cancelled operation can still reach the store."""

    @abstractmethod
    async def leave(self, key: str, endings: Endings, *, stream: str = "") -> bool:
        """Remove requests that ended from those in flight, and record how; return whether a node holds `stream`.

        With a `stream`, requests of another POST that have the same ids stay.
        """

    @abstractmethod
    async def cancel(self, key: str, principal: str, request_id: RequestId) -> InFlightRequest | None:
        """Return the request in flight with its node, or store the cancellation for a request that may still arrive.

        A cancellation of a request that ended less than CANCEL_KEEP_SECONDS ago arrived too late, and is not stored.
        """

    @abstractmethod
    async def update(self, key: str, **changes: Any) -> None:
        """Change fields of a session's record."""

    @abstractmethod
    async def touch(self, key: str, stream: str = "") -> bool:
        """Extend the life of the session and of an open `stream`'s log; return whether the session is still live."""

    @abstractmethod
    async def close(self, key: str, principal: str | None) -> Closing | None:
        """End a session with its streams and state, for its `principal` or, with None, for an operator."""

    def forget(self, key: str) -> None:
        """Drop this process's data of a session that has ended."""

    @abstractmethod
    async def get(self, key: str) -> Session | None:
        """Return a live session's record."""

    @abstractmethod
    async def in_flight(self, key: str) -> tuple[InFlightRequest, ...]:
        """Return the session's requests in flight that this process can read."""

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        """Return the history of a live session that this process can read, newest first."""
        return ()

    async def note(self, key: str, principal: str, entry: HistoryEntry) -> None:
        """Add a request that was not admitted to the history of a principal's session, in the background."""

    @abstractmethod
    async def subscribe(self, key: str, uri: str, subscribed: bool, limit: int, max_bytes: int) -> bool:
        """Add a URI to the session's subscriptions, or remove it; return whether it fits the limits.

        A session may have `limit` URIs, of `max_bytes` bytes of UTF-8 in total. They are stored beside the record:
        of the other operations only `emit` of a broadcast reads them.
        """

    @abstractmethod
    async def subscriptions(self, key: str) -> frozenset[str]:
        """Return the URIs that a live session has subscribed to."""

    @abstractmethod
    async def read_state(self, key: str) -> dict[str, bytes]:
        """Return everything that tools have stored in a session."""

    @abstractmethod
    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        """Store one value or, with None, delete it; return whether the name existed before."""


class StreamLog(Contract, ABC):
    """Stores the events of a session's streams, and which node writes and holds each of them."""

    shares_streams: bool = False
    """Can other processes read a stream's log, and receive messages for their nodes?"""
    keeps_answers: bool = False
    """Does each process that can read a session also have the answers to its idempotency keys?"""

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
        leaving: Endings = NO_ENDINGS,
    ) -> Appended | None:
        """Add a writer's numbered events to a stream's log; return None for a session that has ended.

        The first call creates the stream, with `holder` as its first holder. With `refills`, a gap in the numbers is
        reported to the writer (`Appended.missing`) instead of being counted as lost. `leaving` is as for `leave`.
        """

    @abstractmethod
    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Emitted | None:
        """Number a message and add it to the session's GET stream; return None if it was not added.

        A `broadcast` is added once, and only if the session has subscribed to its URI.
        """

    @abstractmethod
    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        """Make `node` the holder of a stream, from event `after` on, or from the last delivered one.

        Return None for a session that is unknown to `principal`. Raises: StreamOver for a stream that has ended with
        no message after that event, and keeps its holder; UnknownStream.
        """

    @abstractmethod
    async def read(self, key: str, stream: str, after: int, *, epoch: int = 0) -> tuple[tuple[Event, ...], int]:
        """Return the logged events after `after`, and how many before them are lost.

        Raises:
            UnknownStream: the store does not have this stream. StreamOver: it has ended with event `after`.
            HolderChanged: another response holds it since an epoch later than `epoch` (0 skips this check).
        """

    @abstractmethod
    async def checkpoint(
        self, key: str, stream: str, delivered: int, last_broadcast: str = "", *, released_epoch: int = 0
    ) -> None:
        """Record that a socket was sent everything up to event `delivered` and broadcast `last_broadcast`.

        With `released_epoch`, the socket that held the stream since that epoch is closed. A store that has lost the
        newest events continues after `delivered`, so that no number is used twice.
        """

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        """Make `node` the writer of a stream whose `writer` died, and fence the old writer.

        Return None if the old writer is alive, or another node was first.
        """
        return None

    async def writer(self, key: str, stream: str) -> str:
        """Return the node that writes a stream, or an empty string if it is unknown."""
        return ""

    async def stream_records(self, key: str) -> tuple[StreamRecord, ...]:
        """Return the records of a live session's streams that this process can read."""
        return ()


class NodeBus(Contract, ABC):
    """Knows the live nodes, and carries messages between them."""

    @abstractmethod
    async def start(self, node: str, deliver: Deliver, measure: Measure = ProcessMetrics) -> None:
        """Join as `node`, and pass its messages to `deliver`, which does not block. Raises: BackendError.

        `measure` returns the metrics of this process, for `metrics`.
        """

    def expect_messages(self, node: str, expects: Callable[[], bool]) -> None:
        """Learn how to tell whether other nodes may have messages for `node`; called before `start`.

        A bus that polls for messages can poll rarely while there are none to expect.
        """
        return None

    @abstractmethod
    async def stop(self, node: str) -> None:
        """Leave; ignore a store that does not answer."""

    async def announce_drain(self, node: str) -> None:
        """Announce to other nodes that `node` is about to stop."""

    async def nodes(self) -> tuple[NodeRecord, ...]:
        """Return the live nodes that other processes can reach."""
        return ()

    async def nodes_of(self, key: str) -> tuple[NodeRecord, ...]:
        """Return the live nodes that can hold the streams of one session."""
        return await self.nodes()

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        """Return the metrics of each process that has a node, as far as this one can read them."""
        return ()

    def session_counts(self) -> SessionCounts:
        """Tell, without asking the store, how many sessions there are; the first time it may be unknown."""
        return SessionCounts()

    def lease_may_be_lost(self, node: str) -> bool:
        """Tell, without asking the store, whether others may have declared `node` dead and taken its streams."""
        return False

    def session_lease_may_be_lost(self, node: str, key: str) -> bool:
        """Tell the same of the lease that counts for one session."""
        return self.lease_may_be_lost(node)

    def failure(self, node: str) -> BaseException | None:
        """Return why `node` cannot exchange messages with the other nodes, or None if it can."""
        return None

    async def journal_at_once(self, node: str, key: str, stream: str) -> None:
        """Record at once that `node` runs this stream, so that a sweep finds it even if the node dies right away."""
        return None

    @abstractmethod
    async def send(self, node: str, message: NodeMessage) -> bool:
        """Deliver `message` to `node`; return False for a node that no longer exists.

        Raises: BackendError, also when the node's inbox is full.
        """

    @abstractmethod
    async def broadcast(self, message: Broadcast) -> None:
        """Number `message`, keep it for a while for sessions that no node holds, and deliver it to every node."""

    @abstractmethod
    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        """Return the stored broadcasts with a number above `after`, in order."""

    @abstractmethod
    async def last_broadcast(self) -> str:
        """Return the number of the newest broadcast, or an empty string if there is none."""


class SessionIndex(Contract, ABC):
    """Lists sessions for operators; a backend may have none."""

    @abstractmethod
    async def page(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        """Return a page of the live sessions that match a query, in one of `domain.session_query.ORDERS`."""

    @abstractmethod
    async def overview(self) -> Overview:
        """Summarize all live sessions."""

    async def page_and_facets(self, offset: int, limit: int, query: SessionQuery, order: str) -> tuple[Page, Facets]:
        """Return a page, and what all live sessions can be filtered by: by default, the commonest values."""
        return await self.page(offset, limit, query, order), (await self.overview()).values
