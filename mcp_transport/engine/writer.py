"""The writer of a session's POST stream; each stream has one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp_transport.backends.base import Appended, Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import Wake
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Writer"]


class Writer:
    """Numbers a stream's events, hands them to the socket, then to the log.

    Nothing is logged until `enable_log`: a response that is sent as one JSON document cannot be resumed, and is kept
    only for an idempotency key. The latest events stay in memory, as many as the log keeps, for a store that loses
    them.
    """

    def __init__(
        self, node: Node, session: Session, stream: str, in_flight: Sequence[InFlightRequest] = (), *, first: int = 1
    ) -> None:
        self._node, self.session = node, session
        self.key, self.stream = session.key, stream
        self._in_flight = in_flight
        self.request_ids = tuple(entry.request_id for entry in in_flight)
        self._endings: dict[RequestId, Ending] = {}
        self._seq = self._stored = first - 1
        self._recent: deque[Event] = deque()
        self._recent_bytes = 0
        self.is_logged = False
        self._flush_is_due = False
        self._flushing = asyncio.Lock()
        self._ended = False
        self.is_stopped = False
        """Has the session ended, or has another node taken over the stream?"""
        self._has_log = True
        self._withheld = False
        self.has_messages = False
        """Were there messages other than responses?"""
        self.closes_on_open = False
        """Shall the socket close as soon as the client has received an event id to resume from?"""
        self.output_ready = asyncio.Event()
        """Set at the first message, or at the end."""
        if in_flight:
            node.writers[self.key, stream] = self

    @property
    def unlogged(self) -> list[Event]:
        """Return the events that are not in the log yet, as many as the log keeps."""
        return [event for event in self._recent if event.seq > self._stored]

    def write(self, payload: bytes) -> None:
        """Add a message other than a response; ignored after the last response, as ended handlers may still send."""
        if self._ended:
            return
        self.has_messages = True
        self.output_ready.set()
        self._add(Event(self._seq + 1, payload))

    def record_ending(self, request_id: RequestId, ending: Ending) -> None:
        """Record how a request ended; called before its response, if any, is added."""
        self._endings[request_id] = ending

    def add_response(self, payload: bytes) -> None:
        """Add a response that is not the last one."""
        self._add(Event(self._seq + 1, payload))

    def end(self, payload: bytes) -> None:
        """Add the last response and end the stream; an empty `payload` ends it without a response."""
        self._endings = dict.fromkeys(self.request_ids, Ending.CANCELLED) | self._endings
        # Frees the bodies of durable calls; with an idempotency key, the digest still goes into the log.
        self._ended, self._in_flight = True, self._in_flight if is_keyed(self.stream) else ()
        self._add(Event(self._seq + 1, payload, terminal=True))
        self.output_ready.set()

    def _add(self, event: Event) -> None:
        if self.is_stopped:
            return
        self._seq = event.seq
        self._recent.append(event)
        self._recent_bytes += len(event.payload)
        policy = self._node.policy
        while len(self._recent) > policy.stream_max_events or (
            self._recent_bytes > policy.stream_max_bytes and len(self._recent) > 1
        ):
            self._recent_bytes -= len(self._recent.popleft().payload)
        open_stream = self._node.streams.get((self.key, self.stream))
        if self._node.lease_may_be_lost():
            self._withheld = True  # the store decides whether this node still writes the stream
        elif open_stream is not None:
            open_stream.offer(event)
        if self.is_logged and not self._flush_is_due:
            self._flush_is_due = True  # one flush logs everything that this tick writes
            self._node.tasks.spawn(self.flush())

    def ended_silently_after(self, seq: int) -> bool:
        """Return whether the stream has ended without a message after event `seq`; the store may not know yet."""
        if not self._ended or not self._recent or not self._recent[0].seq - 1 <= seq <= self._seq:
            return False
        return not any(event.payload for event in self._recent if event.seq > seq)

    def enable_log(self, holder: str = "") -> None:
        """Log all events, past and future; `holder` is the node that has the socket."""
        self.is_logged = True
        self._node.tasks.spawn(self.flush(holder))

    async def flush(self, holder: str = "") -> None:
        """Log the remaining events, retrying while the store is unavailable, and wake a socket on another node."""
        async with self._flushing:
            self._flush_is_due = False
            is_writable = self._has_log and not self.is_stopped
            appended = await self._node.retry_until_expired(lambda: self._append(holder)) if is_writable else None
            if self._ended and (appended is None or not self.unlogged):
                self._node.writers.pop((self.key, self.stream), None)
        if appended is None:
            return
        if appended.holder is not None:
            self._node.adopt_holder(self.key, self.stream, appended.holder)
        open_stream = self._node.streams.get((self.key, self.stream))
        # A resumed response may have registered between an event and its log entry.
        if open_stream is not None and (
            open_stream.has_missed_event or open_stream.starts_from_log or self._withheld
        ):
            self._withheld = False
            open_stream.wake()
        if appended.holder is not None and appended.holder.node != self._node.id:
            self._node.send_in_background(appended.holder.node, Wake(self.key, self.stream))
        elif appended.holder is not None and open_stream is None:
            self._node.receive(Wake(self.key, self.stream))  # its response may be about to open

    async def _append(self, holder: str) -> Appended | None:
        """Append the unlogged events; return None if this node must no longer write the stream."""
        refills = True
        while True:
            batch = self.unlogged
            appended = await self._node.backend.streams.append(
                self.key,
                self.stream,
                batch,
                writer=self._node.id,
                holder=holder,
                refills=refills,
                leaving=dict(self._endings),
            )
            if appended is None:
                if not await self._restore():
                    return None
                self._stored, refills = 0, False
            elif appended.fenced:
                self._node.observer.report(ClusterEvent.FENCED, self.key, stream=self.stream)
                self.stop()
                return None
            elif appended.missing:
                # The store lost its last writes: send again what is still in memory; the rest counts as lost.
                self._stored, refills = appended.missing - 1, False
                if self._recent and self._recent[0].seq <= appended.missing:
                    self._node.observer.report(ClusterEvent.REFILLED, self.key, stream=self.stream)
            else:
                self._stored = batch[-1].seq if batch else self._stored
                return appended

    def stop(self) -> None:
        """Stop the handlers, because the session has ended or another node has taken over the stream."""
        self.is_stopped = True
        self._node.writers.pop((self.key, self.stream), None)
        for call in [call for call in self._node.running if call.writer is self]:
            call.cancel()
        open_stream = self._node.streams.get((self.key, self.stream))
        if open_stream is not None:
            self._node.unregister_stream(open_stream)
            open_stream.end()

    def discard_log(self) -> None:
        """Stop logging, because the session has ended; a client that waits on this node still gets its response."""
        self._has_log = False

    async def close_socket(self) -> None:
        """End the stream's HTTP response; one that is not open yet ends as soon as it opens."""
        open_stream = self._node.streams.get((self.key, self.stream))
        if open_stream is not None:
            open_stream.end()
        elif not self.is_logged:
            self.closes_on_open = self.has_messages = True
            self.output_ready.set()

    async def remove_requests(self) -> None:
        """Remove the requests from the store after their responses were sent as JSON, without a log.

        If a client has repeated its POST meanwhile, it waits on the stream, so the responses are logged. With an
        idempotency key, a client may repeat it later, so the response is logged before the request is removed.
        """
        if is_keyed(self.stream):
            await self.flush()
            return
        if self._has_log and await self._node.retry_until_expired(self._remove):
            self.enable_log()
            return
        self._node.writers.pop((self.key, self.stream), None)

    async def remove_request(self, request_id: RequestId) -> bool:
        """Remove a request whose response was sent from the store; return False if it still runs."""
        if request_id not in self._endings or not (self._ended or self.is_logged):
            return False
        if self.is_logged or is_keyed(self.stream):
            await self.flush()
        else:
            await self._node.retry_until_expired(self._remove)
        return True

    async def stop_if_fenced(self) -> None:
        """Stop if another node has taken over the stream. Raises: BackendError."""
        writer = await self._node.backend.streams.writer(self.key, self.stream)
        if writer not in ("", self._node.id) and not self.is_stopped:
            self._node.observer.report(ClusterEvent.FENCED, self.key, stream=self.stream)
            self.stop()

    async def verify_and_restore(self) -> None:
        """Call `stop_if_fenced`, and restore session and requests in an emptied store. Raises: BackendError."""
        await self.stop_if_fenced()
        in_flight = await self._node.backend.sessions.in_flight(self.key)
        if self.is_stopped or self._ended or self.stream in {entry.stream for entry in in_flight}:
            return
        if await self._restore() and self.is_logged:
            self._node.tasks.spawn(self.flush())

    async def _restore(self) -> bool:
        """Restore session and requests in a store that has lost them; stop if the session has ended."""
        backend, session = self._node.backend, self.session
        if await backend.sessions.get(self.key) is None and not await self._node.restore(session):
            self._node.expiry.end_missing(session)
            return False
        self._stored = 0
        endings = {} if is_keyed(self.stream) else self._endings
        left = [entry for entry in self._in_flight if entry.request_id not in endings]
        await backend.sessions.enter(self.key, session.principal, self._node.id, left)
        return True

    async def _remove(self) -> bool:
        return await self._node.backend.sessions.leave(self.key, self._endings, stream=self.stream)
