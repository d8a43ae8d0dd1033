"""One running request, and the stream that it and the other requests of its POST write to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mcp_transport.backends.base import Event, Holder
from mcp_transport.engine.codec import encode, encode_notification
from mcp_transport.exceptions import BackendError
from mcp_transport.kernel import ClientError, Exchange, Outcome
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.inbox import Wake
from mcp_transport.protocol.jsonrpc import Request, RequestId

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Call", "SessionOutlet", "Writer"]

logger = logging.getLogger(__name__)

_LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class Call:
    """A request under way; it runs in a task of its node, whatever becomes of the socket it came on."""

    def __init__(self, node: Node, request: Request, exchange: Exchange, writer: Writer | None = None) -> None:
        self.request, self.exchange, self.writer = request, exchange, writer
        self.outcome: Outcome | None = None
        """None while it runs, and for good when it was cancelled."""
        self.payload = b""
        """The outcome as a JSON-RPC response."""
        self._node = node
        self._task: asyncio.Task[None] | None = None

    def start(self, done: Callable[[Call], None]) -> None:
        """Begin; `done` is called once, at the end."""
        self._node.running.add(self)
        self._task = self._node.lifecycle.spawn(self._run())
        self._task.add_done_callback(lambda _: self._end(done))

    def _end(self, done: Callable[[Call], None]) -> None:
        self._node.running.discard(self)
        done(self)

    async def _run(self) -> None:
        try:
            outcome = await self._node.kernel.serve(self.exchange, self.request)
        finally:
            self.exchange.ended = True
        try:
            self.payload = encode(outcome.body(self.request.id))
        except (TypeError, ValueError, RecursionError):
            logger.exception("the result of %s cannot be written as JSON", self.request.method)
            outcome = Outcome(error={"code": INTERNAL_ERROR, "message": "Internal server error"})
            self.payload = encode(outcome.body(self.request.id))
        self.outcome = outcome

    def abandon(self) -> None:
        """Stop the handler because its node stops, and tell the client that its call is lost."""
        lost = "the server stopped before the call ended; whether it took effect is not known"
        self.outcome = Outcome(error={"code": INTERNAL_ERROR, "message": lost})
        self.payload = encode(self.outcome.body(self.request.id))
        self.cancel()

    def cancel(self) -> None:
        """Stop the handler; a synchronous one sees `ctx.cancelled` and otherwise runs to its end in vain."""
        self.exchange.caller.cancelled = True
        self.exchange.cancel_requested.set()
        if self._task is not None:
            self._task.cancel()


class Writer:
    """The one writer of a session's POST stream: numbers its events, hands them to the socket, then to the log.

    Until `keep_log` nothing is logged: an answer that leaves as one JSON document cannot be resumed.
    """

    def __init__(self, node: Node, key: str, stream: str, request_ids: tuple[RequestId, ...]) -> None:
        self._node, self.key, self.stream = node, key, stream
        self._request_ids = request_ids
        self._seq = 0
        self.is_logged = False
        self._flush_is_due = False
        self._flushing = asyncio.Lock()
        self.unwritten: list[Event] = []
        self.has_spoken = False
        """Was there a message besides the answers?"""
        self.opens_closed = False
        """Shall the socket close as soon as it has told the client where to resume?"""
        self.touched = asyncio.Event()
        """Set when it has spoken, and at the end."""
        self.finished = asyncio.Event()
        """Set when nothing of it is left to store."""

    def write(self, payload: bytes, *, terminal: bool = False, answer: bool = False) -> None:
        """Add a message; an empty terminal one ends the stream without an answer."""
        self._seq += 1
        event = Event(self._seq, payload, terminal)
        self.unwritten.append(event)
        if (open_stream := self._node.streams.get((self.key, self.stream))) is not None:
            open_stream.offer(event)
        if self.is_logged and not self._flush_is_due:
            self._flush_is_due = True  # one flush takes along whatever else this tick writes
            self._node.lifecycle.spawn(self.flush())
        self.has_spoken = self.has_spoken or not answer
        if terminal or not answer:
            self.touched.set()

    def keep_log(self, holder: str = "") -> None:
        """Log from now on, beginning with what was written so far; `holder` is the node with the socket."""
        self.is_logged = True
        self._node.lifecycle.spawn(self.flush(holder))

    async def flush(self, holder: str = "") -> None:
        """Bring the log up to date, however long the store is away, and wake a socket that another node holds."""
        async with self._flushing:
            self._flush_is_due = False
            batch: list[Event] = []

            async def append() -> Holder | None:
                batch.extend(self.unwritten)
                self.unwritten.clear()
                del batch[: -self._node.policy.stream_max_events]
                return await self._node.backend.append(self.key, self.stream, batch, holder)

            held_by = await self._node.insist(append)
        if held_by is not None:
            self._node.settle_holder(self.key, self.stream, held_by)
        open_stream = self._node.streams.get((self.key, self.stream))
        # A resumed socket may have come between the event and its log entry.
        if open_stream is not None and (open_stream.missed or open_stream.resumed):
            open_stream.wake()
        if held_by is not None and held_by.node != self._node.id:
            with suppress(BackendError):  # the holder looks by itself at its next keep-alive
                await self._node.backend.send(held_by.node, Wake(self.key, self.stream))

    async def close_socket(self) -> None:
        """End the response that holds the stream; one that is not open yet opens to end at once."""
        open_stream = self._node.streams.get((self.key, self.stream))
        if open_stream is not None:
            open_stream.end()
        elif not self.is_logged:
            self.opens_closed = self.has_spoken = True
            self.touched.set()

    async def finish(self, errors: int) -> None:
        """Take the requests off the session's books, after their answers are in the log."""
        try:
            if self.is_logged:
                await self.flush()
            await self._node.insist(lambda: self._node.backend.leave(self.key, self._request_ids, errors))
        finally:
            self.finished.set()


class SessionOutlet:
    """Where the messages of a session's request go."""

    def __init__(
        self, node: Node, writer: Writer, *, owner: str, log_level: str, can_stream: bool, polling: bool
    ) -> None:
        self._node, self._writer = node, writer
        self._owner, self._polling = owner, polling
        self.log_level = log_level
        self.can_request = can_stream

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the request's stream, unless the client wants one JSON document or fewer logs."""
        if self.can_request and not self._is_too_detailed(method, params):
            self._writer.write(encode_notification(method, params))

    def _is_too_detailed(self, method: str, params: Mapping[str, Any] | None) -> bool:
        if method != "notifications/message" or not self.log_level:
            return False
        level = (params or {}).get("level")
        return level in _LOG_LEVELS and _LOG_LEVELS.index(level) < _LOG_LEVELS.index(self.log_level)

    async def request(self, method: str, params: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        """Ask the client on the request's stream and wait for its reply."""
        request_id = self._node.mint_request_id(self._owner)
        message = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": method,
            **({} if params is None else {"params": params}),
        }
        self._writer.write(encode(message))
        try:
            reply = await self._node.wait_for_reply(request_id, seconds or self._node.policy.client_reply_timeout)
        except (TimeoutError, asyncio.CancelledError):
            # 2025-11-25, basic/lifecycle, "Timeouts": tell the other side that nobody waits any more.
            cancelled = {"requestId": request_id, "reason": "no longer needed"}
            self._writer.write(encode_notification("notifications/cancelled", cancelled))
            raise
        if reply.error is not None:
            raise ClientError(reply.error["code"], reply.error["message"], reply.error.get("data"))
        return dict(reply.result or {})

    async def emit(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the session's GET stream."""
        await self._node.emit(self._writer.key, method, params)

    async def close_stream(self) -> None:
        """Close the socket, where the client knows to come back (2025-11-25, polling)."""
        if self._polling and self.can_request:
            await self._writer.close_socket()
