"""One open response that is written as its events come.

A `Pipe` carries a sessionless answer: what it holds is all there is, so a slow client slows its handler.
An `OpenStream` carries a stream of a session: the log is the truth, so a slow client is served from the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Final

from mcp_transport.backends.base import Backend, Event, HolderChanged, UnknownStream
from mcp_transport.domain.session import Session
from mcp_transport.engine.clock import Clock, wait
from mcp_transport.engine.codec import encode_notification
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol import sse
from mcp_transport.protocol.cursor import Cursor

__all__ = ["Frames", "OpenStream", "Pipe"]

# Frames that wait for the socket of a sessionless answer before its handler has to wait too.
_PIPE_ROOM: Final = 16


class Frames:
    """An iterator of frames that says once that it is over: read to its end, closed, or never begun."""

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
        """Say that nobody reads any more; any thread may, since Django closes responses in one."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_close()


class Pipe:
    """Frames from a handler to its client's socket, with room for a few."""

    def __init__(self, clock: Clock, keepalive: float) -> None:
        self._clock, self._keepalive = clock, keepalive
        self._waiting: deque[bytes] = deque()
        self._ready, self._room = asyncio.Event(), asyncio.Event()
        self._ended = False

    async def put(self, frame: bytes) -> None:
        """Add a frame; wait while the client is too slow."""
        self._waiting.append(frame)
        self._ready.set()
        while len(self._waiting) > _PIPE_ROOM and not self._ended:
            self._room.clear()
            await self._room.wait()

    def end(self, frame: bytes = b"") -> None:
        """Add the last frame."""
        if frame:
            self._waiting.append(frame)
        self._ended = True
        self._ready.set()
        self._room.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield frames as they come, and a comment whenever none came for the keep-alive time."""
        if not self._waiting and not self._ended:
            yield sse.COMMENT  # so that the headers leave at once, whatever a server or proxy collects
        while True:
            while self._waiting:
                yield self._waiting.popleft()
                self._room.set()
            if self._ended:
                return
            self._ready.clear()
            if not await wait(self._clock, self._ready, self._keepalive):
                yield sse.COMMENT


async def _is_over() -> bool:
    return False


class OpenStream:
    """The response that holds one stream of a session, on this node."""

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        *,
        key: str,
        stream: str,
        cursor: int,
        keepalive: float,
        queue: int,
        opening: bytes = sse.COMMENT,
        events: Iterable[Event] = (),
        lost: int = 0,
        delivered: Callable[[OpenStream], None] = lambda _: None,
        heard: str = "",
    ) -> None:
        """Hold a stream whose client has seen `cursor`; for a GET stream, `heard` was the last broadcast on it."""
        self._backend, self._clock = backend, clock
        self.key, self.stream, self.cursor = key, stream, cursor
        self.epoch = 0
        self.writer = ""
        """The other node that writes it, if one does."""
        self.session: Session | None = None
        self.heard = self._told = heard
        # Broadcasts that were put on it, each after its number, and may not have reached the socket.
        self._on_the_way: deque[tuple[int, str]] = deque()
        self.resumed = False
        """Did it begin with what the log held, instead of with the call?"""
        self._keepalive, self._limit = keepalive, queue
        self._opening = opening
        self._first = list(events)
        self._queue: deque[Event] = deque()
        self._lost = lost
        self._delivered = delivered
        self.revive: Callable[[], Awaitable[bool]] = _is_over
        """Asked, when session or stream are not in the store any more, whether they can be stored again."""
        self.give_way: Callable[[int], None] = lambda _: None
        """Called with the epoch since which another response has the stream."""
        self.told_loss: Callable[..., None] = lambda **_: None
        """Called with `events`, how many were lost, whenever the client is told so."""
        self._behind = self._is_superseded = False
        self._newest = cursor
        """The newest event that was offered, taken or not."""
        self.missed = False
        """Was an event refused that may not be in the log yet?"""
        self._farewell: list[bytes] = []
        self.ended = asyncio.Event()
        self.is_over = False
        """Was its last event handed to the socket?"""
        self._wake = asyncio.Event()

    def note_broadcast(self, number: str, seq: int) -> None:
        """Note that a broadcast was put on the stream as event `seq`; 0 if the session did not want it."""
        self.heard = number
        self._on_the_way.append((seq, number))

    @property
    def told(self) -> str:
        """Return the last broadcast that was handed to the socket."""
        while self._on_the_way and self._on_the_way[0][0] <= self.cursor:
            self._told = self._on_the_way.popleft()[1]
        return self._told

    def offer(self, event: Event) -> None:
        """Take an event for the socket; one too many, and the client is served from the log instead."""
        self._newest = event.seq
        if len(self._queue) < self._limit:
            self._queue.append(event)
        else:
            self._behind = self.missed = True
        self._wake.set()

    def wake(self) -> None:
        """Look into the log: something new may be there."""
        self._behind, self.missed = True, False
        self._wake.set()

    def end(self, *, retry_ms: int | None = None) -> None:
        """Close the socket; the stream itself goes on and can be resumed, after `retry_ms` if that is said."""
        if retry_ms is not None:
            self._farewell = [sse.retry(retry_ms)]
        self.ended.set()
        self._wake.set()

    def supersede(self) -> None:
        """Close the socket for another response that has the stream now, and tell a client that still reads it."""
        self._is_superseded = True
        self.end()

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield the opening, then every event after the cursor once and in order, with keep-alives between."""
        yield self._opening
        while True:
            self._wake.clear()
            try:
                events = await self._news()
            except LookupError:
                break
            if self._is_superseded:  # what was not handed to the socket yet is the other one's
                break
            if chunk := b"".join(frame for event in events for frame in self._frames_of(event)):
                yield chunk  # one write for all that is ready
            if events and events[-1].terminal:
                self.is_over = True
                return
            if self.ended.is_set():
                break
            if not self._queue and not await wait(self._clock, self._wake, self._keepalive):
                if not await self._session_lives():
                    return
                self._behind = True  # a lost wake-up costs one tick
                yield sse.COMMENT
        for frame in [self._moved_notice()] if self._is_superseded else self._farewell:
            yield frame

    def _frames_of(self, event: Event) -> Iterator[bytes]:
        if self._lost:
            yield self._loss_notice(before=event)
        self.cursor = event.seq
        self._delivered(self)
        if event.payload:
            yield sse.event(event.payload, str(Cursor(self.stream, event.seq)))

    async def _news(self) -> list[Event]:
        """Return what comes next. Raises: LookupError when nothing can."""
        try:
            return await self._next_events()
        except HolderChanged as error:
            self.give_way(error.epoch)
            raise
        except UnknownStream:
            if await self._is_revived():
                return []
            raise

    async def _next_events(self) -> list[Event]:
        """Return what follows the cursor without a hole: from the queue and, when that has one, from the log."""
        # What the log had at the beginning has no holes, nor has what is read from it: between two writers its
        # numbers jump.
        ready, self._first = self._first, []
        if ready:
            self._wake.set()  # and now look for more
            return ready
        queued = list(self._queue)
        self._queue.clear()
        expected = self.cursor + 1 + self._lost
        if self._behind or (queued and queued[0].seq > expected):
            self._behind = False
            self.missed = True  # before the log is read: what is logged meanwhile wakes us
            try:
                ready = list(await self._read_log())
            except UnknownStream:
                self._queue.extendleft(reversed(queued))  # which no log has, if the session is over
                raise
            expected = ready[-1].seq + 1 if ready else self.cursor + 1 + self._lost
            queued += self._queue
            self._queue.clear()
        for event in queued:
            if event.seq == expected:
                ready.append(event)
                expected += 1
        # What was refused, and what lies beyond a hole, is not here; it will be in the log.
        self.missed = self._newest >= expected
        return ready

    async def _read_log(self) -> tuple[Event, ...]:
        try:
            events, self._lost = await self._backend.read(self.key, self.stream, self.cursor, epoch=self.epoch)
        except BackendError:
            return ()
        return events

    async def _session_lives(self) -> bool:
        """Slide the session's end; while the store is away, take it for alive."""
        try:
            return await self._backend.touch(self.key, self.stream) or await self.revive()
        except BackendError:
            return True

    async def _is_revived(self) -> bool:
        """Have a store that lost the stream know it again; one that is away will be asked later."""
        try:
            return await self.revive()
        except BackendError:
            return True

    def _moved_notice(self) -> bytes:
        """Have a client that comes back say that it read this, so that two streams do not end each other in turns.

        Clients before 2025-11-25 know no events without a message (ADR 32).
        """
        event_id = str(Cursor(self.stream, self.cursor, moved=True))
        if self._opening != sse.COMMENT:
            return sse.id_event(event_id)
        text = "another stream of this session gets its messages from now on"
        level = (self.session and self.session.log_level) or "info"  # which the client wants to hear
        params = {"level": level, "logger": "mcp_transport", "data": text}
        return sse.event(encode_notification("notifications/message", params), event_id)

    def _loss_notice(self, before: Event) -> bytes:
        """Tell the client that the log was not long enough; it comes back behind what is lost."""
        text = f"{self._lost} messages of this stream are lost: the client was away for longer than they are kept"
        self.told_loss(events=self._lost)
        self._lost = 0
        params = {"level": "warning", "logger": "mcp_transport", "data": text}
        return sse.event(
            encode_notification("notifications/message", params), str(Cursor(self.stream, before.seq - 1))
        )
