"""The requests of one POST, run side by side, answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mcp_transport.backends.base import Entered
from mcp_transport.engine.call import Call, SessionOutlet, Writer
from mcp_transport.engine.clock import wait
from mcp_transport.engine.codec import encode
from mcp_transport.engine.reply import answer
from mcp_transport.engine.sessionful.streams import hold
from mcp_transport.engine.sessionful.visit import Visit
from mcp_transport.engine.stream import Frames, OpenStream
from mcp_transport.protocol import sse
from mcp_transport.protocol.cursor import Cursor
from mcp_transport.protocol.errors import (
    REQUEST_CANCELLED,
    error_body,
)
from mcp_transport.protocol.http import Reply, StreamReply
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["Answering"]


class Answering:
    """The requests of one POST, run side by side, answered together."""

    def __init__(self, visit: Visit, stream: str, requests: Sequence[Request], entered: Entered, batch: bool) -> None:
        self._visit, self._node, self._batch = visit, visit.node, batch
        self._writer = Writer(visit.node, visit.session.key, stream, tuple(request.id for request in requests))
        outlet = SessionOutlet(
            visit.node,
            self._writer,
            owner=visit.owner,
            log_level=visit.session.log_level,
            can_stream=visit.accepts.sse,
            polling=visit.polling,
        )
        self._first_id = requests[0].id
        facts = visit.facts()
        self._calls = [
            Call(visit.node, request, visit.node.exchange(facts, outlet, visit.caller(), request), self._writer)
            for request in requests
            if request.id not in entered.cancelled
        ]
        self._running = len(self._calls)
        self._answers: list[bytes] = []
        self._errors = 0

    async def run(self) -> Reply | StreamReply:
        """Start the calls; answer with JSON when all are done in time and said nothing else, else with a stream."""
        for call in self._calls:
            self._node.calls[self._visit.session.key, call.request.id] = call
            call.start(self._done)
        if not self._calls:
            self._end()
        accepts, clock = self._visit.accepts, self._node.clock
        try:
            await wait(clock, self._writer.touched, self._node.policy.sse_after if accepts.sse else None)
        except asyncio.CancelledError:
            # 2025-11-25, basic/transports: a disconnect is no cancellation. The client may send the POST again.
            self._writer.keep_log()
            raise
        if self._running or self._writer.has_spoken or (not self._answers and accepts.sse):
            return self._stream()
        if not self._visit.request.streaming:
            await self._writer.finished.wait()  # the loop ends with this request
        if not self._answers:
            cancelled = error_body(REQUEST_CANCELLED, "the request was cancelled", request_id=self._first_id)
            return answer(encode([cancelled] if self._batch else cancelled), accepts)
        return answer(b"[" + b",".join(self._answers) + b"]" if self._batch else self._answers[0], accepts)

    def _done(self, call: Call) -> None:
        self._node.calls.pop((self._visit.session.key, call.request.id), None)
        self._running -= 1
        if call.outcome is not None:
            self._answers.append(call.payload)
            self._errors += call.outcome.failed
            self._writer.write(call.payload, terminal=not self._running, answer=True)
        elif not self._running:
            self._writer.write(b"", terminal=True, answer=True)
        if not self._running:
            self._node.lifecycle.spawn(self._writer.finish(self._errors))

    def _end(self) -> None:
        self._writer.write(b"", terminal=True, answer=True)
        self._node.lifecycle.spawn(self._writer.finish(0))

    def _stream(self) -> StreamReply:
        policy, writer = self._node.policy, self._writer
        taken_over = writer.is_logged  # the client sent its POST again, and that one has the stream now
        opening = (
            sse.priming_event(str(Cursor(writer.stream, 0)), policy.retry_ms) if self._visit.polling else sse.COMMENT
        )
        stream = OpenStream(
            self._node.backend,
            self._node.clock,
            key=writer.key,
            stream=writer.stream,
            cursor=0,
            keepalive=policy.keepalive,
            queue=policy.stream_queue,
            opening=opening,
            events=writer.unwritten,
        )
        if taken_over:
            stream.end()
            return StreamReply(status=200, headers=sse.HEADERS, frames=Frames(stream.frames(), on_close=stream.end))
        writer.keep_log(holder=self._node.id)
        if writer.opens_closed:
            stream.end()
        return hold(self._node, stream, epoch=0)
