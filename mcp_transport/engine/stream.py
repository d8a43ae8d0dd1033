"""Open HTTP responses that are written as their events arrive.

A `Pipe` carries the response to a sessionless request: it has no log, so a slow client slows down its handler.
An `OpenStream` carries a stream of a session: a slow client is served from the stream's log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Final

from mcp_transport.backends.results import Event, HolderChanged, UnknownStream
from mcp_transport.domain.session import Session
from mcp_transport.engine.clock import Clock, wait
from mcp_transport.engine.codec import encode_notification
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol import sse
from mcp_transport.protocol.cursor import Cursor
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["Frames", "OpenStream", "Pipe"]

# Frames that wait for the socket of a sessionless response; with more of them, the handler waits too.
_PIPE_MAX_FRAMES: Final = 16


class Frames:
    """An iterator of frames that calls `on_close` once: when it is exhausted, or closed, or never started."""

    def __init__(self, frames: AsyncIterator[bytes], on_close: Callable[[], None]) -> None:
        self._frames, self._on_close = frames, on_close
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def __aiter__(self) -> Frames:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._frames)
        except BaseException:
            self._close()
            raise

    def close(self) -> None:
        """Stop reading; thread-safe, since Django closes responses in a thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_close()


class Pipe:
    """A bounded queue of frames from a handler to its client's socket."""

    def __init__(self, clock: Clock, keepalive: float) -> None:
        self._clock, self._keepalive = clock, keepalive
        self._frames_waiting: deque[bytes] = deque()
        self._ready, self._has_room = asyncio.Event(), asyncio.Event()
        self._ended = False

    @property
    def is_full(self) -> bool:
        """Return whether `put` would wait."""
        return len(self._frames_waiting) >= _PIPE_MAX_FRAMES and not self._ended

    async def put(self, frame: bytes) -> None:
        """Add a frame; wait while the queue is full."""
        self._frames_waiting.append(frame)
        self._ready.set()
        while len(self._frames_waiting) > _PIPE_MAX_FRAMES and not self._ended:
            self._has_room.clear()
            await self._has_room.wait()

    def end(self, frame: bytes = b"") -> None:
        """Add the last frame, and end."""
        if frame:
            self._frames_waiting.append(frame)
        self._ended = True
        self._ready.set()
        self._has_room.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield frames as they arrive, and a comment after each keep-alive interval without one."""
        if not self._frames_waiting and not self._ended:
            yield sse.COMMENT  # makes servers and proxies that buffer send the headers at once
        while True:
            while self._frames_waiting:
                yield self._frames_waiting.popleft()
                self._has_room.set()
            if self._ended:
                return
            self._ready.clear()
            if not await wait(self._clock, self._ready, self._keepalive):
                yield sse.COMMENT


async def _is_over(stream: OpenStream) -> bool:
    return False


class OpenStream:
    """The open response for one stream of a session, on this node."""

    def __init__(
        self,
        context: NodeContext,
        session: Session,
        stream: str,
        cursor: int,
        *,
        epoch: int = 0,
        writer: str = "",
        events: Iterable[Event] = (),
        lost: int = 0,
        last_broadcast: str = "",
        starts_from_log: bool = True,
        restore: Callable[[OpenStream], Awaitable[bool]] = _is_over,
        on_newer_holder: Callable[[str, str, int], None] = lambda *_: None,
        on_delivered: Callable[[OpenStream], None] | None = None,
    ) -> None:
        """Continue a stream after event `cursor`; a GET stream continues after the broadcast `last_broadcast`.

        `restore` is called when the store no longer has the session or the stream, and returns whether it has them
        again; `on_newer_holder` with session, stream and epoch of a newer response; `on_delivered` after each event.
        """
        self._context, self.session = context, session
        self.key, self.stream, self.cursor = session.key, stream, cursor
        self.epoch = epoch
        """The epoch in which this node became the holder; 0 until the store has recorded it."""
        self.writer = writer
        """The other node that writes the stream, if one does."""
        self.last_broadcast = self._last_delivered_broadcast = last_broadcast
        # Event and number of each broadcast on the stream that may not have reached the socket.
        self._undelivered_broadcasts: deque[tuple[int, str]] = deque()
        self.starts_from_log = starts_from_log
        """Does the response start with events of the log, instead of with its call?"""
        self._initial_events = list(events)
        self._queue: deque[Event] = deque()
        self._lost = lost
        self._restore, self._on_newer_holder, self._on_delivered = restore, on_newer_holder, on_delivered
        self._must_read_log = self._is_superseded = False
        self._newest_offered = cursor
        """The newest event that was offered, queued or not."""
        self.has_missed_event = False
        """Was an event not queued that may not be in the log yet?"""
        self._closing_frames: list[bytes] = []
        self.ended = asyncio.Event()
        self.is_complete = False
        """Was the stream's last event passed to the socket?"""
        self._wake = asyncio.Event()

    def record_broadcast(self, number: str, seq: int) -> None:
        """Record that a broadcast became event `seq` of the stream; 0 if the session is not subscribed to it."""
        self.last_broadcast = number
        self._undelivered_broadcasts.append((seq, number))

    @property
    def last_delivered_broadcast(self) -> str:
        """Return the number of the last broadcast that was passed to the socket."""
        while self._undelivered_broadcasts and self._undelivered_broadcasts[0][0] <= self.cursor:
            self._last_delivered_broadcast = self._undelivered_broadcasts.popleft()[1]
        return self._last_delivered_broadcast

    def offer(self, event: Event) -> None:
        """Queue an event for the socket; if the queue is full, the client is served from the log instead."""
        self._newest_offered = event.seq
        if len(self._queue) < self._context.policy.stream_queue:
            self._queue.append(event)
        else:
            self._must_read_log = self.has_missed_event = True
        self._wake.set()

    def wake(self) -> None:
        """Read the log, which may have new events."""
        self._must_read_log, self.has_missed_event = True, False
        self._wake.set()

    def end(self, *, retry_ms: int | None = None) -> None:
        """Close the socket; the client can resume the stream, after `retry_ms` milliseconds if given."""
        if retry_ms is not None:
            self._closing_frames = [sse.retry(retry_ms)]
        self.ended.set()
        self._wake.set()

    def supersede(self) -> None:
        """Close the socket because a newer response has the stream, and notify a client that still reads it."""
        self._is_superseded = True
        self.end()

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield the opening, then each event after the cursor once and in order, and keep-alive comments."""
        yield self._opening()
        while True:
            self._wake.clear()
            try:
                events = await self._pending_events()
            except LookupError:
                break
            if self._is_superseded:  # the newer response delivers the remaining events
                break
            if chunk := b"".join(frame for event in events for frame in self._frames_of(event)):
                yield chunk  # one write for all events that are ready
            if events and events[-1].terminal:
                self.is_complete = True
                return
            if self.ended.is_set():
                break
            if not self._queue and not await self._wait():
                if not await self._is_session_alive():
                    return
                self._must_read_log = True  # a lost wake-up delays events by one keep-alive interval
                yield sse.COMMENT
        for frame in [self._moved_notice()] if self._is_superseded else self._closing_frames:
            yield frame

    @property
    def _supports_polling(self) -> bool:
        return REVISIONS[self.session.protocol_version].polling

    def _opening(self) -> bytes:
        """Return what makes servers and proxies send the headers: a priming event, for clients that support it."""
        if not self._supports_polling:
            return sse.COMMENT
        return sse.priming_event(str(Cursor(self.stream, self.cursor)), self._context.policy.retry_ms)

    async def _wait(self) -> bool:
        """Wait for events, at most a keep-alive interval; return whether there may be some."""
        return await wait(self._context.clock, self._wake, self._context.policy.keepalive)

    def _frames_of(self, event: Event) -> Iterator[bytes]:
        if self._lost:
            yield self._loss_notice(before=event)
        self.cursor = event.seq
        if self._on_delivered is not None:
            self._on_delivered(self)
        if event.payload:
            yield sse.event(event.payload, str(Cursor(self.stream, event.seq)))

    async def _pending_events(self) -> list[Event]:
        """Return the next events. Raises: LookupError when the stream cannot continue."""
        try:
            return await self._next_events()
        except HolderChanged as error:
            self._on_newer_holder(self.key, self.stream, error.epoch)
            raise
        except UnknownStream:
            if await self._is_restored():
                return []
            raise

    async def _next_events(self) -> list[Event]:
        """Return the events after the cursor without a gap: from the queue or, if it has a gap, from the log."""
        # Initial events, and those read from the log, have no gap, although their numbers jump between two writers.
        ready, self._initial_events = self._initial_events, []
        if ready:
            self._wake.set()  # the next round reads further events
            return ready
        queued = list(self._queue)
        self._queue.clear()
        expected = self.cursor + 1 + self._lost
        if self._must_read_log or (queued and queued[0].seq > expected):
            self._must_read_log = False
            self.has_missed_event = True  # set before the read: events that are logged meanwhile wake this response
            try:
                ready = list(await self._read_log())
            except UnknownStream:
                self._queue.extendleft(reversed(queued))  # no log has these, if the session has ended
                raise
            expected = ready[-1].seq + 1 if ready else self.cursor + 1 + self._lost
            queued += self._queue
            self._queue.clear()
        for event in queued:
            if event.seq == expected:
                ready.append(event)
                expected += 1
        # Events that were not queued, and those after a gap, will be read from the log.
        self.has_missed_event = self._newest_offered >= expected
        return ready

    async def _read_log(self) -> tuple[Event, ...]:
        try:
            read = self._context.backend.streams.read
            events, self._lost = await read(self.key, self.stream, self.cursor, epoch=self.epoch)
        except BackendError:
            return ()
        return events

    async def _is_session_alive(self) -> bool:
        """Keep the session alive; return False if it has ended. An unavailable store counts as alive."""
        try:
            is_live = await self._context.backend.sessions.touch(self.key, self.stream)
            return is_live or await self._restore(self)
        except BackendError:
            return True

    async def _is_restored(self) -> bool:
        """Restore the stream in a store that has lost it; an unavailable store counts as restored."""
        try:
            return await self._restore(self)
        except BackendError:
            return True

    def _moved_notice(self) -> bytes:
        """Return an event whose id marks the client as superseded: two streams must not end each other in turns.

        Clients before 2025-11-25 do not support events without a message (ADR 32).
        """
        event_id = str(Cursor(self.stream, self.cursor, moved=True))
        if self._supports_polling:
            return sse.id_event(event_id)
        text = "another stream of this session receives its messages from now on"
        level = self.session.log_level or "info"  # a level that the client accepts
        params = {"level": level, "logger": "mcp_transport", "data": text}
        return sse.event(encode_notification("notifications/message", params), event_id)

    def _loss_notice(self, before: Event) -> bytes:
        """Notify the client that the log was too short; the event id resumes after the lost events."""
        text = f"{self._lost} messages of this stream are lost: the client was away longer than they are kept"
        self._context.observer.report(ClusterEvent.LOST, self.key, stream=self.stream, events=self._lost)
        self._lost = 0
        params = {"level": "warning", "logger": "mcp_transport", "data": text}
        event_id = str(Cursor(self.stream, before.seq - 1))
        return sse.event(encode_notification("notifications/message", params), event_id)
