"""An event stream that continues at another endpoint when its connection breaks."""

from __future__ import annotations

import asyncio
import codecs
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast

import httpx2
import orjson

from mcp_transport.client.circuit_breaker import backoff
from mcp_transport.client.errors import LoadRefusal, is_lost_call, load_refusal

__all__ = ["EventStream", "Position", "is_stream", "region_of"]

logger = logging.getLogger(__name__)

# The limit of the SDK's transport, which cannot read longer events either.
_MAX_EVENT_BYTES: Final = 1024 * 1024
_new_decoder: Final = codecs.getincrementaldecoder("utf-8")
_MAX_RETRY_MILLISECONDS: Final = 86_400_000
# Added to the wait after a refusal, so that clients that were refused together do not return together.
_JITTER_SECONDS: Final = (0.05, 0.25)


class Position:
    """The position up to which a stream has been read."""

    def __init__(self, last_event_id: str = "") -> None:
        """Start after an event, or at the beginning."""
        self.last_event_id = last_event_id
        self.retry = 0.0
        """Seconds to wait before reconnecting, as the server asks."""
        self.last_byte_at = time.monotonic()
        """When the last byte arrived, on the monotonic clock."""
        self.is_answered = False
        self.is_lost = False
        """Did the node of the call die, and is a retry safe?"""
        self.refusal: LoadRefusal | None = None
        """Was the call refused for load after its stream had begun?"""
        self.refused = 0.0
        """Seconds waited after such refusals."""
        self.interruptions = 0
        """Consecutive connections that ended without data."""
        self.paused = 0.0
        """Seconds waited between them."""
        self.region = ""
        """The region of the response that is read; empty if it names none."""
        self.read_in: dict[str, str] = {}
        """The last event of each region: those without a common store number the events of a GET stream apart."""
        self._read_before = ""
        """The last event that was read in this region before the client was in another one."""
        self.is_listening = False
        """Is it the GET stream of a session?"""
        self.on_server_request: Callable[[str | int, str], None] | None = None
        """Called with the id of each server request, and the region that sent it."""
        self._progress: dict[Any, float] = {}

    async def pause(self) -> None:
        """Wait before reconnecting, longer after each interruption but the first, which needs no pause."""
        self.interruptions += 1
        seconds = backoff(self.interruptions - 2) if self.interruptions > 1 else 0.0
        self.paused += seconds
        await asyncio.sleep(max(seconds, self.retry))  # 2025-11-25, basic/transports: a client MUST wait for `retry`

    def record(self, event: httpx2.ServerSentEvent) -> bool:
        """Record an event; return False for one that was read before, and for progress that a lost run reported."""
        if self._was_read(event.id):
            return False
        self.is_answered = self.is_lost = False
        self.refusal = None
        if event.id:
            self.last_event_id = self.read_in[self.region] = event.id
        if event.retry is not None:
            self.retry = min(max(event.retry, 0), _MAX_RETRY_MILLISECONDS) / 1000
        is_new = not event.data or self._record_message(event.data)
        if event.data and is_new:
            self.interruptions, self.paused = 0, 0.0
        return is_new

    def begin(self, region: str) -> None:
        """Record the region of a response."""
        self._read_before = self.read_in.get(region, "") if region != self.region else ""
        self.region = region

    async def wait_after(self, refusal: LoadRefusal) -> None:
        """Wait as the server asks before the call is sent again, on a new stream."""
        self.last_event_id = ""
        seconds = refusal.seconds + random.uniform(*_JITTER_SECONDS)  # noqa: S311 (no secret)
        self.refused += seconds
        await asyncio.sleep(seconds)

    def _was_read(self, event_id: str) -> bool:
        """Return whether a region sends an event of a GET stream again, as when a client comes back to it."""
        if not (self.is_listening and self._read_before):
            return False
        stream, _, number = event_id.rpartition("-")
        last_stream, _, last_number = self._read_before.rpartition("-")
        is_same = stream == last_stream and number.isdigit() and last_number.isdigit()
        return is_same and int(number) <= int(last_number)

    def _record_message(self, data: str) -> bool:
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            return True  # the SDK reports the error
        if not isinstance(message, dict):
            return True
        if message.get("method") == "notifications/progress":
            return self._is_new_progress(message.get("params"))
        self.is_answered = "id" in message and "method" not in message
        if self.region and self.on_server_request is not None and "id" in message and "method" in message:
            self.on_server_request(message["id"], self.region)
        error = message.get("error")
        details = error.get("data") if self.is_answered and isinstance(error, dict) else None
        self.is_lost = isinstance(details, dict) and is_lost_call(details) and details["retryable"]
        self.refusal = load_refusal(message) if self.is_answered else None
        return True

    def _is_new_progress(self, params: object) -> bool:
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
    """The body of one response, assembled from as many connections as needed."""

    def __init__(
        self,
        response: httpx2.Response,
        resume: Callable[[Position], Awaitable[httpx2.Response | bytes | None]],
        *,
        idle: float,
        max_wait: float = 0.0,
        position: Position | None = None,
    ) -> None:
        """Read `response`, then what `resume` returns: the next response, a last frame, or None at the end.

        Args:
            idle: seconds without a byte after which a resumable stream counts as broken.
            max_wait: seconds to wait in all when the call is refused for load on its stream.
            position: the position of a GET stream, which no response ends.
        """
        self._response, self._go_on, self._idle, self._max_wait = response, resume, idle, max_wait
        self._has_answer = self._may_repeat = position is None
        self.position = position or Position()
        self.position.is_listening = position is not None
        self._timeout: asyncio.Timeout | None = None
        self._is_left = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.position.begin(region_of(self._response))
            self._is_left = False
            async for event in self._events():
                is_new = self.position.record(event)
                if self.position.is_lost and self._may_repeat:
                    self._may_repeat = False  # only once: the call may have killed the node (ADR 30)
                    break
                if self._waits_for(self.position.refusal):
                    break
                if is_new:
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

    def _waits_for(self, refusal: LoadRefusal | None) -> bool:
        """Return whether a call that was refused is sent again; otherwise its caller gets the refusal."""
        return self._has_answer and refusal is not None and self.position.refused + refusal.seconds <= self._max_wait

    async def _events(self) -> AsyncIterator[httpx2.ServerSentEvent]:
        """Yield events until the connection ends or breaks."""
        source = httpx2.EventSource(cast("httpx2.Response", _TimedResponse(self)), max_event_size=_MAX_EVENT_BYTES)
        try:
            async for event in source:
                yield event
        except httpx2.SSEError:
            raise  # the event is too long at every endpoint; the SDK reports it
        except (httpx2.TransportError, httpx2.StreamError, TimeoutError) as error:
            logger.info("stream %s broke: %r", self.position.last_event_id or "without ids", error)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the response. Raises: TimeoutError, after `idle` seconds without one."""
        chunks = aiter(self._response.aiter_bytes())
        while not self._is_left:
            async with asyncio.timeout(self._idle if self.position.last_event_id else None) as self._timeout:
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                finally:
                    self._timeout = None
            self.position.last_byte_at = time.monotonic()
            yield chunk

    def reopen(self) -> None:
        """End this connection, as if it had broken."""
        self._is_left = True
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())

    @property
    def request(self) -> httpx2.Request:
        """Return the request that is answered."""
        return self._response.request

    async def aclose(self) -> None:
        """Close the connection."""
        await self._response.aclose()


class _TimedResponse:
    """The part of a response that an event source reads, with an idle timeout."""

    headers: Final = {"content-type": "text/event-stream"}

    def __init__(self, stream: EventStream) -> None:
        self._stream, self.request = stream, stream.request

    async def aiter_text(self) -> AsyncIterator[str]:
        decoder = _new_decoder(errors="replace")
        async for chunk in self._stream.chunks():
            yield decoder.decode(chunk)


def region_of(response: httpx2.Response) -> str:
    """Return the region that a response names (docs/reference/http.md); empty if it names none."""
    return str(response.headers.get("x-mcp-region", ""))


def is_stream(response: httpx2.Response) -> bool:
    """Return whether a response is an event stream."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _frame(event: httpx2.ServerSentEvent) -> bytes:
    """Serialise an event as it was read."""
    lines = [f"event: {event.event}"]
    lines += [f"id: {event.id}"] if event.id else []
    lines += [f"retry: {event.retry}"] if event.retry is not None else []
    lines += [f"data: {line}" for line in event.data.split("\n")]
    return ("\n".join(lines) + "\n\n").encode()
