"""A stream of events that goes on at another endpoint when its connection breaks."""

from __future__ import annotations

import asyncio
import codecs
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast

import httpx2
import orjson

from mcp_transport.client.circuit_breaker import wait_after
from mcp_transport.client.errors import is_lost_call

__all__ = ["EventStream", "Position", "is_stream"]

logger = logging.getLogger(__name__)

# Of the SDK's transport; a server that sends longer events cannot be read by it either.
_MAX_EVENT: Final = 1024 * 1024
_new_decoder: Final = codecs.getincrementaldecoder("utf-8")
_LONGEST_RETRY: Final = 86_400_000
"""Milliseconds."""


class Position:
    """How far a stream has been read."""

    def __init__(self, last_event_id: str = "") -> None:
        """Begin after an event, or at the beginning."""
        self.last_event_id = last_event_id
        self.retry = 0.0
        """Seconds that the server wants a client to wait before it comes back."""
        self.heard_at = time.monotonic()
        """When the last byte came."""
        self.is_answered = False
        self.is_lost = False
        """Has the node died that ran the request, which is safe to send again?"""
        self.breaks = 0
        """Connections in a row that ended and brought nothing."""
        self.paused = 0.0
        """Seconds that were waited between them."""
        self._progress: dict[Any, float] = {}

    async def pause(self) -> None:
        """Wait before the stream is asked for again: not after the first break, and longer after each other one."""
        self.breaks += 1
        seconds = wait_after(self.breaks - 2) if self.breaks > 1 else 0.0
        self.paused += seconds
        await asyncio.sleep(max(seconds, self.retry))  # 2025-11-25, basic/transports: a client MUST wait for `retry`

    def take(self, event: httpx2.ServerSentEvent) -> bool:
        """Note an event; return False for progress that was reported before, by a run that was lost."""
        self.is_answered = self.is_lost = False
        if event.id:
            self.last_event_id = event.id
        if event.retry is not None:
            self.retry = min(max(event.retry, 0), _LONGEST_RETRY) / 1000
        is_news = not event.data or self._take_message(event.data)
        if event.data and is_news:
            self.breaks, self.paused = 0, 0.0
        return is_news

    def _take_message(self, data: str) -> bool:
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            return True  # the SDK says what is wrong with it
        if not isinstance(message, dict):
            return True
        if message.get("method") == "notifications/progress":
            return self._is_news(message.get("params"))
        self.is_answered = "id" in message and "method" not in message
        error = message.get("error")
        details = error.get("data") if self.is_answered and isinstance(error, dict) else None
        self.is_lost = isinstance(details, dict) and is_lost_call(details) and details["retryable"]
        return True

    def _is_news(self, params: object) -> bool:
        if not isinstance(params, dict):
            return True
        token, progress = params.get("progressToken"), params.get("progress")
        if not isinstance(token, str | int) or not isinstance(progress, int | float):
            return True
        if progress <= self._progress.get(token, float("-inf")):
            return False  # 2025-06-18, progress: the value MUST increase with each notification
        self._progress[token] = progress
        return True


class EventStream(httpx2.AsyncByteStream):
    """The body of an answer, from as many responses as it takes."""

    def __init__(
        self,
        response: httpx2.Response,
        go_on: Callable[[Position], Awaitable[httpx2.Response | bytes | None]],
        *,
        idle: float,
        position: Position | None = None,
    ) -> None:
        """Read `response`, then what `go_on` returns: the next response, a last frame, or None at the end.

        Args:
            idle: seconds without a byte after which a stream that can be resumed is taken for broken.
            position: that of a stream which no answer ends, and which may go on after an event.
        """
        self._response, self._go_on, self._idle = response, go_on, idle
        self._has_answer = self._may_repeat = position is None
        self.position = position or Position()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            async for event in self._events():
                is_news = self.position.take(event)
                if self.position.is_lost and self._may_repeat:
                    self._may_repeat = False  # once: the call may be why the node died (ADR 30)
                    break
                if is_news:
                    yield _frame(event)
                if self._has_answer and self.position.is_answered:
                    return
            await self._response.aclose()
            following = await self._go_on(self.position)
            if isinstance(following, bytes):
                yield following
            if not isinstance(following, httpx2.Response):
                return
            self._response = following

    async def _events(self) -> AsyncIterator[httpx2.ServerSentEvent]:
        """Yield events until the connection ends or breaks."""
        source = httpx2.EventSource(cast("httpx2.Response", _Watched(self)), max_event_size=_MAX_EVENT)
        try:
            async for event in source:
                yield event
        except httpx2.SSEError:
            raise  # an event that is too long is so at each endpoint; the SDK answers for it
        except (httpx2.TransportError, httpx2.StreamError, TimeoutError) as error:
            logger.info("stream %s broke: %r", self.position.last_event_id or "without ids", error)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the response. Raises: TimeoutError, after `idle` seconds without one."""
        chunks = aiter(self._response.aiter_bytes())
        while True:
            async with asyncio.timeout(self._idle if self.position.last_event_id else None):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            self.position.heard_at = time.monotonic()
            yield chunk

    @property
    def request(self) -> httpx2.Request:
        """Return the request that is answered."""
        return self._response.request

    async def aclose(self) -> None:
        """Close the connection."""
        await self._response.aclose()


class _Watched:
    """What an event source reads of a response, whose silence is watched."""

    headers: Final = {"content-type": "text/event-stream"}

    def __init__(self, stream: EventStream) -> None:
        self._stream, self.request = stream, stream.request

    async def aiter_text(self) -> AsyncIterator[str]:
        decoder = _new_decoder(errors="replace")
        async for chunk in self._stream.chunks():
            yield decoder.decode(chunk)


def is_stream(response: httpx2.Response) -> bool:
    """Tell whether an answer is a stream of events."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _frame(event: httpx2.ServerSentEvent) -> bytes:
    """Write an event as it was read."""
    lines = [f"event: {event.event}"]
    lines += [f"id: {event.id}"] if event.id else []
    lines += [f"retry: {event.retry}"] if event.retry is not None else []
    lines += [f"data: {line}" for line in event.data.split("\n")]
    return ("\n".join(lines) + "\n\n").encode()
