"""A stream of events that goes on at another endpoint when its connection breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx2
import orjson

from mcp_transport.client.errors import is_lost_call

__all__ = ["EventStream", "Position", "is_stream"]

logger = logging.getLogger(__name__)

# Of the SDK's transport; a server that sends longer events cannot be read by it either.
_MAX_EVENT: Final = 1024 * 1024


class Position:
    """How far a stream has been read."""

    def __init__(self, last_event_id: str = "") -> None:
        """Begin after an event, or at the beginning."""
        self.last_event_id = last_event_id
        self.retry = 0.0
        """Seconds that the server wants a client to wait before it comes back."""
        self.is_answered = False
        self.is_lost = False
        """Has the node died that ran the request, which is safe to send again?"""
        self.breaks = 0
        """How often in succession the connection has ended without a message."""
        self.repeats = 0
        """How often the request was sent again, since its stream could not be resumed."""
        self._progress: dict[Any, float] = {}

    def pause(self) -> float:
        """Return the seconds until the client comes back: longer with each break, no less than the server wants.

        2025-11-25, basic/transports: a client MUST wait for `retry`.
        """
        return max(self.retry, min(0.1 * 2.0 ** min(self.breaks - 2, 10), 10.0) if self.breaks > 1 else 0.0)

    def take(self, event: httpx2.ServerSentEvent) -> bool:
        """Note an event; return False for progress that was reported before, by a run that was lost."""
        self.is_answered = self.is_lost = False
        if event.id:
            self.last_event_id = event.id
        if event.retry is not None:
            self.retry = event.retry / 1000
        if not event.data:
            return True
        self.breaks = 0
        try:
            message = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return True  # the SDK says what is wrong with it
        if not isinstance(message, dict):
            return True
        if message.get("method") == "notifications/progress":
            return self._is_news(message.get("params") or {})
        self.is_answered = "id" in message and "method" not in message
        error = message.get("error")
        data = error.get("data") if self.is_answered and isinstance(error, dict) else None
        self.is_lost = isinstance(data, dict) and is_lost_call(data) and data["retryable"]
        return True

    def _is_news(self, params: dict[str, Any]) -> bool:
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
        has_answer: bool = True,
    ) -> None:
        """Read `response`, then what `go_on` returns: the next response, a last frame, or None at the end.

        Args:
            idle: seconds without a byte after which a stream that can be resumed is taken for broken.
            has_answer: whether the answer to a request ends the stream.
        """
        self._response, self._go_on, self._idle, self._has_answer = response, go_on, idle, has_answer
        self._may_repeat = has_answer
        self.position = Position()

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
            self.position.breaks += 1
            following = await self._go_on(self.position)
            if isinstance(following, bytes):
                yield following
            if not isinstance(following, httpx2.Response):
                return
            self._response = following

    async def _events(self) -> AsyncIterator[httpx2.ServerSentEvent]:
        """Yield events until the connection ends or breaks."""
        watched = httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=_Watched(self))
        watched.request = self._response.request
        try:
            async for event in httpx2.EventSource(watched, max_event_size=_MAX_EVENT):
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
            yield chunk

    async def aclose(self) -> None:
        """Close the connection."""
        await self._response.aclose()


class _Watched(httpx2.AsyncByteStream):
    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream.chunks():
            yield chunk


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
