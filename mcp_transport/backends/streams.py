"""Logs, inboxes and flights that live in this process; the memory and the cache backend share them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from mcp_transport.backends.base import Deliver, Event, Holder, StreamRecord
from mcp_transport.domain.history import HistoryEntry, Occasion
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["Bus", "Inboxes", "LocalSession", "StreamLog"]


class StreamLog:
    """One stream's events, bounded by count and by bytes; the oldest go first."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: deque[Event] = deque()
        self._bytes = 0
        self.last = 0
        self.delivered = 0
        self.holder: Holder | None = None
        self.epoch = 0
        self.heard = ""
        self.done_at: float | None = None
        self.digest = b""
        """Of the request, where the stream belongs to an idempotency key and has ended."""

    def append(self, events: Sequence[Event], now: float) -> None:
        """Add numbered events; a repeat is skipped, and before a gap everything counts as lost."""
        for event in events:
            if event.seq <= self.last:
                continue
            if event.seq > self.last + 1:
                # What lies between never came: all before it counts as lost, so that a reader is told.
                self._events.clear()
                self._bytes = 0
            self._events.append(event)
            self._bytes += len(event.payload)
            self.last = event.seq
            if event.terminal:
                self.done_at = now
        while len(self._events) > self._max_events or (self._bytes > self._max_bytes and len(self._events) > 1):
            self._bytes -= len(self._events.popleft().payload)

    def after(self, seq: int) -> tuple[tuple[Event, ...], int]:
        """Return the events after `seq`, and how many of those are no longer held."""
        first = self._events[0].seq if self._events else self.last + 1
        lost = max(0, first - seq - 1)
        if not self._events or self._events[-1].seq <= seq:
            return (), lost
        return tuple(event for event in self._events if event.seq > seq), lost

    def record(self, name: str) -> StreamRecord:
        """Return what an operator sees of it."""
        return StreamRecord(
            name=name,
            holder=self.holder.node if self.holder is not None else "",
            epoch=self.epoch,
            last=self.last,
            bytes=self._bytes,
            ended=self.done_at is not None,
        )

    def take(self, node: str) -> tuple[Holder, Holder | None]:
        """Make `node` the holder; return it and the previous one."""
        previous, self.epoch = self.holder, self.epoch + 1
        self.holder = Holder(node, self.epoch)
        return self.holder, previous


class LocalSession:
    """What of a session lives in this process: flights, early cancels, logs, subscriptions, and what happened."""

    def __init__(self, begun: str = "") -> None:
        self.begun = begun
        """The last broadcast before the session was first seen here."""
        self.flights: dict[RequestId, InFlightRequest] = {}
        self.cancels: dict[RequestId, float] = {}
        self.logs: dict[str, StreamLog] = {}
        self.subscriptions: frozenset[str] = frozenset()
        self.history: deque[HistoryEntry] = deque()
        self._ended: deque[tuple[float, str]] = deque()

    @property
    def open_streams(self) -> int:
        """Return how many streams have a socket and are not over."""
        return sum(log.holder is not None and log.done_at is None for log in self.logs.values())

    def note(self, entry: HistoryEntry, limit: int) -> None:
        """Add to what happened, of which the last ones are kept."""
        if entry.what is Occasion.ATTACHED and self.history and entry.repeats(self.history[-1]):
            self.history.pop()
        self.history.append(entry)
        if len(self.history) > limit:
            self.history.popleft()

    def has_just_ended(self, request_id: RequestId, after: float) -> bool:
        """Tell whether a request ended after a time: a cancellation of it came too late."""
        ended = (entry for entry in reversed(self.history) if entry.what is Occasion.ENDED)
        recent = takewhile(lambda entry: entry.when >= after, ended)
        return any(entry.request_id == request_id for entry in recent)

    def running(self, flight: InFlightRequest) -> InFlightRequest | None:
        """Return the flight that has the same idempotency key or, without such a one, the same id."""
        keyed = (item for item in self.flights.values() if is_keyed(flight.stream) and item.stream == flight.stream)
        return next(keyed, self.flights.get(flight.request_id))

    def ended_digest(self, stream: str) -> bytes | None:
        """Return the digest of the request of an idempotency key whose stream has ended."""
        log = self.logs.get(stream) if is_keyed(stream) else None
        return log.digest if log is not None and log.done_at is not None else None

    def note_digest(self, stream: str, ending: Iterable[RequestId]) -> None:
        """Have the log of an idempotency key know its request, which is about to leave the books."""
        for flight in [self.flights[item] for item in ending if item in self.flights]:
            if is_keyed(stream) and flight.stream == stream:
                self.logs[stream].digest = flight.digest

    def append(self, name: str, events: Sequence[Event], now: float) -> None:
        """Add events to one of the logs, which may be its end."""
        log = self.logs[name]
        has_ended = log.done_at is not None
        log.append(events, now)
        if log.done_at is not None and not has_ended:
            self._ended.append((now, name))

    def nodes(self) -> frozenset[str]:
        """Return every node that runs a call or holds a stream of the session."""
        holders = (log.holder for log in self.logs.values())
        running = {flight.node for flight in self.flights.values()}
        return frozenset(running | {holder.node for holder in holders if holder})

    def drop_old(self, now: float, keep: float, cancel_keep: float) -> None:
        """Forget logs of streams that ended `keep` seconds ago, and early cancels nobody came for."""
        while self._ended and self._ended[0][0] + keep < now:
            self.logs.pop(self._ended.popleft()[1], None)
        for request_id in [item for item, at in self.cancels.items() if at + cancel_keep < now]:
            del self.cancels[request_id]


class Bus:
    """The last broadcasts, numbered so that later ones compare greater as text."""

    def __init__(self, limit: int) -> None:
        self._kept: deque[tuple[float, Broadcast]] = deque(maxlen=limit)
        self._count = 0

    @property
    def last(self) -> str:
        """Return the number of the newest broadcast."""
        return f"{self._count:012d}"

    def add(self, message: Broadcast, now: float, keep: float) -> Broadcast:
        """Number a broadcast, and forget those older than `keep` seconds."""
        self._count += 1
        numbered = replace(message, number=self.last)
        self._kept.append((now, numbered))
        while self._kept[0][0] + keep < now:
            self._kept.popleft()
        return numbered

    def after(self, number: str) -> tuple[Broadcast, ...]:
        """Return what followed a number."""
        return tuple(message for _, message in self._kept if message.number > number)


class Inboxes:
    """The nodes of this process and how to reach them."""

    def __init__(self) -> None:
        self._deliver: dict[str, Deliver] = {}

    def add(self, node: str, deliver: Callable[[NodeMessage], None]) -> None:
        """Register a node."""
        self._deliver[node] = deliver

    def remove(self, node: str) -> None:
        """Forget a node."""
        self._deliver.pop(node, None)

    def send(self, node: str, message: NodeMessage) -> bool:
        """Hand a message to a node; return whether it is here."""
        if node not in self._deliver:
            return False
        self._deliver[node](message)
        return True

    def send_all(self, message: NodeMessage) -> None:
        """Hand a message to every node."""
        for deliver in list(self._deliver.values()):
            deliver(message)
