"""The one writer of a session's POST stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp_transport.backends.base import Appended, Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import Wake
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.engine.observer import Happening
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Writer"]


class Writer:
    """Numbers a stream's events, hands them to the socket, then to the log.

    Until `keep_log` nothing is logged: an answer that leaves as one JSON document cannot be resumed. It is kept only
    where its stream belongs to an idempotency key. What was written last stays in memory as long as the log would
    keep it, for a store that lost it.
    """

    def __init__(
        self, node: Node, session: Session, stream: str, flights: Sequence[InFlightRequest] = (), *, first: int = 1
    ) -> None:
        self._node, self.session = node, session
        self.key, self.stream = session.key, stream
        self._flights = flights
        self.request_ids = tuple(flight.request_id for flight in flights)
        self._endings: dict[RequestId, Ending] = {}
        self._seq = self._stored = first - 1
        self._recent: deque[Event] = deque()
        self._recent_bytes = 0
        self.is_logged = False
        self._flush_is_due = False
        self._flushing = asyncio.Lock()
        self._ended = False
        self.is_stopped = False
        """Is the session over, or does another node answer for it?"""
        self._has_log = True
        self._held_back = False
        self.has_spoken = False
        """Was there a message besides the answers?"""
        self.opens_closed = False
        """Shall the socket close as soon as it has told the client where to resume?"""
        self.touched = asyncio.Event()
        """Set when it has spoken, and at the end."""
        if flights:
            node.writers[self.key, stream] = self

    @property
    def unwritten(self) -> list[Event]:
        """Return the events that are not in the log yet, as far as it would keep them."""
        return [event for event in self._recent if event.seq > self._stored]

    def write(self, payload: bytes) -> None:
        """Add a message that is no answer; none follows the last one, whatever a handler does that was ended."""
        if self._ended:
            return
        self.has_spoken = True
        self.touched.set()
        self._add(Event(self._seq + 1, payload))

    def note_ending(self, request_id: RequestId, ending: Ending) -> None:
        """Note how a request ended, before its answer, if it has one, is added."""
        self._endings[request_id] = ending

    def answer(self, payload: bytes) -> None:
        """Add the answer to one of several requests."""
        self._add(Event(self._seq + 1, payload))

    def end(self, payload: bytes) -> None:
        """Add the last answer, or with an empty one end without."""
        self._endings = dict.fromkeys(self.request_ids, Ending.CANCELLED) | self._endings
        # Of durable calls they have the bodies; of those with a key, the digest goes into the log.
        self._ended, self._flights = True, self._flights if is_keyed(self.stream) else ()
        self._add(Event(self._seq + 1, payload, terminal=True))
        self.touched.set()

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
            self._held_back = True  # the log decides whether this node still writes the stream
        elif open_stream is not None:
            open_stream.offer(event)
        if self.is_logged and not self._flush_is_due:
            self._flush_is_due = True  # one flush takes along whatever else this tick writes
            self._node.lifecycle.spawn(self.flush())

    def is_over_after(self, seq: int) -> bool:
        """Tell whether it has ended without a message after an event, which the store may learn only now."""
        if not self._ended or not self._recent or not self._recent[0].seq - 1 <= seq <= self._seq:
            return False
        return not any(event.payload for event in self._recent if event.seq > seq)

    def keep_log(self, holder: str = "") -> None:
        """Log from now on, beginning with what was written so far; `holder` is the node with the socket."""
        self.is_logged = True
        self._node.lifecycle.spawn(self.flush(holder))

    async def flush(self, holder: str = "") -> None:
        """Bring the log up to date, however long the store is away, and wake a socket that another node holds."""
        async with self._flushing:
            self._flush_is_due = False
            wanted = self._has_log and not self.is_stopped
            appended = await self._node.insist(lambda: self._append(holder)) if wanted else None
            if self._ended and (appended is None or not self.unwritten):
                self._node.writers.pop((self.key, self.stream), None)
        if appended is None:
            return
        if appended.holder is not None:
            self._node.settle_holder(self.key, self.stream, appended.holder)
        open_stream = self._node.streams.get((self.key, self.stream))
        # A resumed socket may have come between the event and its log entry.
        if open_stream is not None and (open_stream.missed or open_stream.resumed or self._held_back):
            self._held_back = False
            open_stream.wake()
        if appended.holder is not None and appended.holder.node != self._node.id:
            self._node.tell(appended.holder.node, Wake(self.key, self.stream))
        elif appended.holder is not None and open_stream is None:
            self._node.receive(Wake(self.key, self.stream))  # its socket may be about to open

    async def _append(self, holder: str) -> Appended | None:
        """Append what is not stored; return None when this stream is no longer to be written here."""
        refills = True
        while True:
            batch = self.unwritten
            appended = await self._node.backend.append(
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
                self._node.observer.happened(Happening.FENCED, self.key, stream=self.stream)
                self.stop()
                return None
            elif appended.missing:
                # The store lost its last writes: it gets again what is still in memory, and counts the rest as lost.
                self._stored, refills = appended.missing - 1, False
                if self._recent and self._recent[0].seq <= appended.missing:
                    self._node.observer.happened(Happening.REFILLED, self.key, stream=self.stream)
            else:
                self._stored = batch[-1].seq if batch else self._stored
                return appended

    def stop(self) -> None:
        """Stop the handlers: the session is over, or another node answers for it."""
        self.is_stopped = True
        self._node.writers.pop((self.key, self.stream), None)
        for call in [call for call in self._node.running if call.writer is self]:
            call.cancel()
        open_stream = self._node.streams.get((self.key, self.stream))
        if open_stream is not None:
            self._node.release(open_stream)
            open_stream.end()

    def forget_log(self) -> None:
        """Note that the session is over, and its log with it; what waits for its answer here still gets it."""
        self._has_log = False

    async def close_socket(self) -> None:
        """End the response that holds the stream; one that is not open yet opens to end at once."""
        open_stream = self._node.streams.get((self.key, self.stream))
        if open_stream is not None:
            open_stream.end()
        elif not self.is_logged:
            self.opens_closed = self.has_spoken = True
            self.touched.set()

    async def leave(self) -> None:
        """Take the requests off the session's books, when their answers need no log.

        A client that has sent its POST again meanwhile waits on their stream: it gets them from the log. One with an
        idempotency key may yet send it again: the log has its answer before the books are without its request.
        """
        if is_keyed(self.stream):
            await self.flush()
            return
        if self._has_log and await self._node.insist(self._leave):
            self.keep_log()
            return
        self._node.writers.pop((self.key, self.stream), None)

    async def clear(self, request_id: RequestId) -> bool:
        """Take a request off the books whose answer was sent; return False for one that still runs."""
        if request_id not in self._endings or not (self._ended or self.is_logged):
            return False
        if self.is_logged or is_keyed(self.stream):
            await self.flush()
        else:
            await self._node.insist(self._leave)
        return True

    async def confirm(self) -> None:
        """Stop if another node writes the stream by now. Raises: BackendError."""
        writer = await self._node.backend.writer(self.key, self.stream)
        if writer not in ("", self._node.id) and not self.is_stopped:
            self._node.observer.happened(Happening.FENCED, self.key, stream=self.stream)
            self.stop()

    async def check(self) -> None:
        """Stop as `confirm` does; store again what a store that was emptied does not know. Raises: BackendError."""
        await self.confirm()
        flights = await self._node.backend.in_flight(self.key)
        if self.is_stopped or self._ended or self.stream in {flight.stream for flight in flights}:
            return
        if await self._restore() and self.is_logged:
            self._node.lifecycle.spawn(self.flush())

    async def _restore(self) -> bool:
        """Put session and requests into the store that has lost them; stop if the session is over."""
        backend, session = self._node.backend, self.session
        if await backend.get(self.key) is None and not await self._node.restore(session):
            self._node.expiry.end(session)
            return False
        self._stored = 0
        endings = {} if is_keyed(self.stream) else self._endings
        left = [flight for flight in self._flights if flight.request_id not in endings]
        await backend.enter(self.key, session.principal, self._node.id, left)
        return True

    async def _leave(self) -> bool:
        return await self._node.backend.leave(self.key, self._endings, stream=self.stream)
