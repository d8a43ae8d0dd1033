"""Stream logs and requests in flight in this process's memory, for the memory and the cache backend."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile

from mcp_transport.backends.records import StreamRecord
from mcp_transport.backends.results import Event, Holder
from mcp_transport.domain.history import HistoryEntry, HistoryEvent
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.domain.stream_messages import mark_time
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["EventLog", "LocalSession"]


class EventLog:
    """One stream's events, limited by number and by bytes; the oldest are dropped first."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: deque[Event] = deque()
        self._bytes = 0
        self.last = 0
        self.delivered = 0
        self.holder: Holder | None = None
        self.epoch = 0
        self.last_broadcast = ""
        self.ended_at: float | None = None
        self.marks: list[tuple[int, float]] = []
        """When its newest events were added."""
        self.digest = b""
        """The request's digest, once the stream of an idempotency key has ended."""

    def append(self, events: Sequence[Event], now: float) -> None:
        """Add numbered events; repeats are skipped, and everything before a gap counts as lost."""
        if events and events[-1].seq > self.last:
            mark_time(self.marks, self.last + 1, now)
        for event in events:
            if event.seq <= self.last:
                continue
            if event.seq > self.last + 1:
                # The events in between never arrived: count everything before the gap as lost, so that readers know.
                self._events.clear()
                self._bytes = 0
            self._events.append(event)
            self._bytes += len(event.payload)
            self.last = event.seq
            if event.terminal:
                self.ended_at = now
        while len(self._events) > self._max_events or (self._bytes > self._max_bytes and len(self._events) > 1):
            self._bytes -= len(self._events.popleft().payload)

    def after(self, seq: int) -> tuple[tuple[Event, ...], int]:
        """Return the events after `seq`, and how many of those were dropped."""
        first = self._events[0].seq if self._events else self.last + 1
        lost = max(0, first - seq - 1)
        if not self._events or self._events[-1].seq <= seq:
            return (), lost
        return tuple(event for event in self._events if event.seq > seq), lost

    def record(self, name: str) -> StreamRecord:
        """Return the record that operators see."""
        return StreamRecord(
            name=name,
            holder=self.holder.node if self.holder is not None else "",
            epoch=self.epoch,
            last=self.last,
            bytes=self._bytes,
            ended=self.ended_at is not None,
            marks=tuple(self.marks),
        )

    def hand_to(self, node: str) -> tuple[Holder, Holder | None]:
        """Make `node` the holder; return the new and the previous holder."""
        previous, self.epoch = self.holder, self.epoch + 1
        self.holder = Holder(node, self.epoch)
        return self.holder, previous


class LocalSession:
    """A session's data in this process: requests in flight, early cancellations, logs, subscriptions, history."""

    def __init__(self, first_broadcast: str = "") -> None:
        self.first_broadcast = first_broadcast
        """The last broadcast before the session was first used here."""
        self.in_flight: dict[RequestId, InFlightRequest] = {}
        self.cancels: dict[RequestId, float] = {}
        self.logs: dict[str, EventLog] = {}
        self.subscriptions: frozenset[str] = frozenset()
        self.history: deque[HistoryEntry] = deque()
        self._ended: deque[tuple[float, str]] = deque()

    @property
    def open_streams(self) -> int:
        """Return how many streams have a holder and have not ended."""
        return sum(log.holder is not None and log.ended_at is None for log in self.logs.values())

    def add_history(self, entry: HistoryEntry, limit: int) -> None:
        """Add an entry to the history, and drop the oldest beyond `limit`."""
        if entry.what is HistoryEvent.ATTACHED and self.history and entry.repeats(self.history[-1]):
            self.history.pop()
        self.history.append(entry)
        if len(self.history) > limit:
            self.history.popleft()

    def has_just_ended(self, request_id: RequestId, after: float) -> bool:
        """Return whether a request ended at or after a time, so that its cancellation came too late."""
        ended = (entry for entry in reversed(self.history) if entry.what is HistoryEvent.ENDED)
        recent = takewhile(lambda entry: entry.when >= after, ended)
        return any(entry.request_id == request_id for entry in recent)

    def duplicate_of(self, request: InFlightRequest) -> InFlightRequest | None:
        """Return the request in flight that has the same idempotency key or, failing that, the same id."""
        keyed = (item for item in self.in_flight.values() if is_keyed(item.stream) and item.stream == request.stream)
        return next(keyed, self.in_flight.get(request.request_id))

    def ended_digest(self, stream: str) -> bytes | None:
        """Return the digest of the request that an ended stream with an idempotency key has answered."""
        log = self.logs.get(stream) if is_keyed(stream) else None
        return log.digest if log is not None and log.ended_at is not None else None

    def store_digest(self, stream: str, ending: Iterable[RequestId]) -> None:
        """Copy the digest of an idempotency key's request into its log, before the request is removed."""
        for request in [self.in_flight[item] for item in ending if item in self.in_flight]:
            if is_keyed(stream) and request.stream == stream:
                self.logs[stream].digest = request.digest

    def append(self, name: str, events: Sequence[Event], now: float) -> None:
        """Add events to one of the logs, and record when it ended."""
        log = self.logs[name]
        has_ended = log.ended_at is not None
        log.append(events, now)
        if log.ended_at is not None and not has_ended:
            self._ended.append((now, name))

    def nodes(self) -> frozenset[str]:
        """Return every node that runs a call or holds a stream of the session."""
        holders = (log.holder for log in self.logs.values())
        running = {request.node for request in self.in_flight.values()}
        return frozenset(running | {holder.node for holder in holders if holder})

    def drop_expired(self, now: float, keep: float, cancel_keep: float) -> None:
        """Drop logs of streams that ended `keep` seconds ago, and early cancellations without a request."""
        while self._ended and self._ended[0][0] + keep < now:
            self.logs.pop(self._ended.popleft()[1], None)
        for request_id in [item for item, at in self.cancels.items() if at + cancel_keep < now]:
            del self.cancels[request_id]
