"""The events that this node writes to a session's POST stream; each stream has one writer at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from mcp_transport.backends.results import Event
from mcp_transport.domain.history import AnyEnding, Ending
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["Writer"]


class Writer:
    """Numbers a stream's events, and passes each of them to `deliver`, for the socket and the log.

    Nothing is logged until `is_logged`: a response that is sent as one JSON document cannot be resumed, and is kept
    only for an idempotency key. The latest events stay in memory, as many as the log keeps, for a store that loses
    them.
    """

    def __init__(
        self,
        policy: Policy,
        deliver: Callable[[Writer, Event], None],
        session: Session,
        stream: str,
        in_flight: Sequence[InFlightRequest],
        *,
        first: int = 1,
    ) -> None:
        """Write the stream of the requests `in_flight`, from event `first` on."""
        self._policy, self._deliver = policy, deliver
        self.session, self.key, self.stream, self.is_keyed = session, session.key, stream, is_keyed(stream)
        self.in_flight = in_flight
        self.request_ids = tuple(entry.request_id for entry in in_flight)
        self.endings: dict[RequestId, AnyEnding] = {}
        self._seq = self.stored = first - 1
        self._recent: deque[Event] = deque()
        self._recent_bytes = 0
        self.is_logged = self.flush_is_due = False
        self.flushing = asyncio.Lock()
        self.has_ended = False
        self.is_stopped = False
        """Has the session ended, or has another node taken over the stream?"""
        self.has_log = True
        """Is the stream logged, since its session has not ended?"""
        self.is_withheld = False
        """Were events not offered to the socket, because the node may have lost its lease?"""
        self.has_messages = False
        """Were there messages other than responses?"""
        self.closes_on_open = False
        """Shall the socket close as soon as the client has received an event id to resume from?"""
        self.output_ready = asyncio.Event()
        """Set at the first message, or at the end."""

    @property
    def unlogged(self) -> list[Event]:
        """Return the events that are not in the log yet, as many as the log keeps."""
        return [event for event in self._recent if event.seq > self.stored]

    def write(self, payload: bytes) -> None:
        """Add a message other than a response; ignored after the last response, as ended handlers may still send."""
        if self.has_ended:
            return
        self.has_messages = True
        self.output_ready.set()
        self._add(Event(self._seq + 1, payload))

    def record_ending(self, request_id: RequestId, ending: AnyEnding) -> None:
        """Record how a request ended; called before its response, if any, is added."""
        self.endings[request_id] = ending

    def add_response(self, payload: bytes) -> None:
        """Add a response that is not the last one."""
        self._add(Event(self._seq + 1, payload))

    def end(self, payload: bytes) -> None:
        """Add the last response and end the stream; an empty `payload` ends it without a response."""
        self.endings = {**dict.fromkeys(self.request_ids, Ending.CANCELLED), **self.endings}
        # Frees the bodies of durable calls; with an idempotency key, the digest still goes into the log.
        self.has_ended, self.in_flight = True, self.in_flight if self.is_keyed else ()
        self._add(Event(self._seq + 1, payload, terminal=True))
        self.output_ready.set()

    def _add(self, event: Event) -> None:
        if self.is_stopped:
            return
        self._seq = event.seq
        self._recent.append(event)
        self._recent_bytes += len(event.payload)
        while len(self._recent) > self._policy.stream_max_events or (
            self._recent_bytes > self._policy.stream_max_bytes and len(self._recent) > 1
        ):
            self._recent_bytes -= len(self._recent.popleft().payload)
        self._deliver(self, event)

    def ended_silently_after(self, seq: int) -> bool:
        """Return whether the stream has ended without a message after event `seq`; the store may not know yet."""
        if not self.has_ended or not self.still_has(seq + 1) or seq > self._seq:
            return False
        return not any(event.payload for event in self._recent if event.seq > seq)

    def still_has(self, seq: int) -> bool:
        """Return whether event `seq`, and those after it, are still in memory."""
        return bool(self._recent) and self._recent[0].seq <= seq
