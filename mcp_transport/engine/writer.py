"""The one writer of a session's POST stream."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp_transport.backends.base import Appended, Event
from mcp_transport.engine.observer import Happening
from mcp_transport.protocol.inbox import Wake
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.protocol.session import Session

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Writer"]

logger = logging.getLogger(__name__)


class Writer:
    """Numbers a stream's events, hands them to the socket, then to the log.

    Until `keep_log` nothing is logged: an answer that leaves as one JSON document cannot be resumed. What was
    written last stays in memory as long as the log would keep it, for a store that lost it.
    """

    def __init__(
        self, node: Node, session: Session, stream: str, request_ids: tuple[RequestId, ...], *, first: int = 1
    ) -> None:
        self._node, self._session = node, session
        self.key, self.stream = session.key, stream
        self.request_ids, self._errors = request_ids, 0
        self._seq = self._stored = first - 1
        self._recent: deque[Event] = deque()
        self._recent_bytes = 0
        self.is_logged = False
        self._flush_is_due = False
        self._flushing = asyncio.Lock()
        self._ended = False
        self.is_stopped = False
        """Is the session over, or does another node answer for it?"""
        self._held_back = False
        self.has_spoken = False
        """Was there a message besides the answers?"""
        self.opens_closed = False
        """Shall the socket close as soon as it has told the client where to resume?"""
        self.touched = asyncio.Event()
        """Set when it has spoken, and at the end."""

    @property
    def unwritten(self) -> list[Event]:
        """Return the events that are not in the log yet, as far as it would keep them."""
        return [event for event in self._recent if event.seq > self._stored]

    def write(self, payload: bytes, *, answer: bool = False) -> None:
        """Add a message."""
        self._add(Event(self._seq + 1, payload))
        self.has_spoken = self.has_spoken or not answer
        if not answer:
            self.touched.set()

    def end(self, payload: bytes, errors: int) -> None:
        """Add the last message, or with an empty one end without an answer; `errors` of the requests failed."""
        self._ended, self._errors = True, errors
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
        if self._node.is_in_doubt():
            self._held_back = True  # the log decides whether this node still writes the stream
        elif open_stream is not None:
            open_stream.offer(event)
        if self.is_logged and not self._flush_is_due:
            self._flush_is_due = True  # one flush takes along whatever else this tick writes
            self._node.lifecycle.spawn(self.flush())

    def keep_log(self, holder: str = "") -> None:
        """Log from now on, beginning with what was written so far; `holder` is the node with the socket."""
        self.is_logged = True
        self._node.lifecycle.spawn(self.flush(holder))

    async def flush(self, holder: str = "") -> None:
        """Bring the log up to date, however long the store is away, and wake a socket that another node holds."""
        async with self._flushing:
            self._flush_is_due = False
            appended = await self._node.insist(lambda: self._append(holder)) if not self.is_stopped else None
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
            await self._node.tell(appended.holder.node, Wake(self.key, self.stream))

    async def _append(self, holder: str) -> Appended | None:
        """Append what is not stored; return None when this stream is no longer to be written here."""
        refills = True
        while True:
            batch = self.unwritten
            leaving: Sequence[RequestId] = self.request_ids if self._ended else ()
            appended = await self._node.backend.append(
                self.key,
                self.stream,
                batch,
                writer=self._node.id,
                holder=holder,
                refills=refills,
                leaving=leaving,
                errors=self._errors if leaving else 0,
            )
            if appended is None:
                if not await self._node.restore(self._session):
                    self._stop()
                    return None
                self._stored, refills = 0, False
            elif appended.fenced:
                self._node.observer.happened(Happening.FENCED, self.key, stream=self.stream)
                self._stop()
                return None
            elif appended.missing:
                # The store lost its last writes: it gets again what is still in memory, and counts the rest as lost.
                self._stored, refills = appended.missing - 1, False
                self._node.observer.happened(Happening.REFILLED, self.key, stream=self.stream)
            else:
                self._stored = batch[-1].seq if batch else self._stored
                return appended

    def _stop(self) -> None:
        """Stop the handlers: the session is over, or another node answers for it."""
        self.is_stopped = True
        for call in [call for call in self._node.running if call.writer is self]:
            call.cancel()
        open_stream = self._node.streams.get((self.key, self.stream))
        if open_stream is not None:
            self._node.release(open_stream)
            open_stream.end()

    async def close_socket(self) -> None:
        """End the response that holds the stream; one that is not open yet opens to end at once."""
        open_stream = self._node.streams.get((self.key, self.stream))
        if open_stream is not None:
            open_stream.end()
        elif not self.is_logged:
            self.opens_closed = self.has_spoken = True
            self.touched.set()

    async def leave(self) -> None:
        """Take the requests off the session's books, when their answers need no log."""
        await self._node.insist(self._leave)

    async def leave_if_mine(self) -> bool:
        """Take the requests off the books; return False if another node has taken them over. Raises: BackendError."""
        return await self._leave()

    async def check(self) -> None:
        """Stop if another node has taken the requests over."""
        flights = await self._node.insist(lambda: self._node.backend.flights(self.key))
        mine = [flight for flight in flights or () if flight.stream == self.stream and flight.node == self._node.id]
        if flights is not None and not mine and not self.is_stopped and not self._ended:
            self._node.observer.happened(Happening.FENCED, self.key, stream=self.stream)
            self._stop()

    async def _leave(self) -> bool:
        ids, backend = self.request_ids, self._node.backend
        return await backend.leave(self.key, ids, self._errors, stream=self.stream)
