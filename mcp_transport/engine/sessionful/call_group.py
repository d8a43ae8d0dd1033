"""The requests of one POST, run side by side, answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from functools import partial

from mcp_transport.engine.call import Call, SessionOutlet
from mcp_transport.engine.clock import soon, wait
from mcp_transport.engine.observer import Happening
from mcp_transport.engine.reply import answer, cancelled_answer, refusal
from mcp_transport.engine.sessionful.request_context import SessionRequest
from mcp_transport.engine.sessionful.streams import hold
from mcp_transport.engine.stream import Frames, OpenStream
from mcp_transport.engine.writer import Writer
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import Exchange
from mcp_transport.protocol import sse
from mcp_transport.protocol.cursor import Cursor
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.http import Reply, StreamReply
from mcp_transport.protocol.jsonrpc import Request, RequestId

__all__ = ["CallGroup"]


class CallGroup:
    """The requests of one POST, run side by side, answered together."""

    def __init__(
        self,
        visit: SessionRequest,
        writer: Writer,
        requests: Sequence[Request],
        *,
        cancelled: Set[RequestId] = frozenset(),
        faults: Sequence[ProtocolError] = (),
        batch: bool = False,
    ) -> None:
        """Take `requests`; those that were `cancelled` before they came are answered with an error, and not run.

        So is what was refused of a batch.
        """
        self._visit, self._node, self._batch = visit, visit.node, batch
        self._writer = writer
        self._requests = [request for request in requests if request.id not in cancelled] if cancelled else requests
        self._running = len(self._requests)
        self._answers = [refusal(fault) for fault in faults]
        self._answers += [cancelled_answer(request.id) for request in requests if request.id in cancelled]

    def _exchange(self, request: Request) -> Exchange:
        visit = self._visit
        outlet = SessionOutlet(
            visit.node,
            self._writer,
            owner=visit.owner,
            log_level=visit.session.log_level,
            can_stream=visit.accepts.sse,
            polling=visit.polling,
        )
        return visit.node.exchange(visit.facts(), outlet, visit.caller(), request)

    def start(self) -> None:
        """Start the calls."""
        session = self._visit.session
        for request in self._requests:
            context = self._node.call_context(self._visit.sent, self._visit.principal)
            call = Call(self._node, request, session.protocol_version, self._exchange, context, self._writer)
            self._node.calls[session.key, request.id] = call
            call.start(self._done, self._visit.request.memory)
        for number, payload in enumerate(self._answers, 1):
            if self._running or number < len(self._answers):
                self._writer.answer(payload)
            else:
                self._writer.end(payload)

    async def run(self) -> Reply | StreamReply:
        """Start the calls; answer with JSON when all are done in time and said nothing else, else with a stream.

        Raises:
            ProtocolError: 503 when another node has taken the calls for lost meanwhile.
        """
        self.start()
        accepts, clock = self._visit.accepts, self._node.clock
        try:
            if not await soon(self._writer.touched):
                await wait(clock, self._writer.touched, self._node.policy.sse_after if accepts.sse else None)
        except asyncio.CancelledError:
            # 2025-11-25, basic/transports: a disconnect is no cancellation. The client may send the POST again.
            self._writer.keep_log()
            raise
        if self._writer.is_stopped:
            raise _given_up()
        if self._running or self._writer.has_spoken or (not self._answers and accepts.sse):
            return self._stream()
        await self._leave()
        if not self._answers:
            self._answers = [cancelled_answer(request_id) for request_id in self._writer.request_ids]
        return answer(b"[" + b",".join(self._answers) + b"]" if self._batch else self._answers[0], accepts)

    def _done(self, call: Call) -> None:
        self._node.calls.pop((self._visit.session.key, call.request.id), None)
        self._running -= 1
        self._writer.note_ending(call.request.id, call.ending)
        if call.outcome is not None:
            self._answers.append(call.payload)
        if not self._running:
            self._writer.end(call.payload)
        elif call.outcome is not None:
            self._writer.answer(call.payload)

    async def _leave(self) -> None:
        """Take the requests off the books, behind the answer."""
        if self._node.lease_may_be_lost():
            await self._writer.confirm()
            if self._writer.is_stopped:
                raise _given_up()
        leaving = self._node.lifecycle.spawn(self._writer.leave())
        if not self._visit.request.streaming:
            await asyncio.wait([leaving])  # the loop ends with this request

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
            events=() if self._node.lease_may_be_lost() else writer.unwritten,
            lost=writer.unwritten[0].seq - 1 if writer.unwritten else 0,
        )
        stream.session = self._visit.session
        stream.told_loss = partial(self._node.observer.happened, Happening.LOST, writer.key, stream=writer.stream)
        stream.resumed = self._node.lease_may_be_lost()  # then the log has the last word
        if taken_over:
            stream.end()
            return StreamReply(status=200, headers=sse.HEADERS, frames=Frames(stream.frames(), on_close=stream.end))
        writer.keep_log(holder=self._node.id)
        if writer.opens_closed:
            stream.end()
        return hold(self._node, stream, epoch=0)


def _given_up() -> ProtocolError:
    gone = "this server stood still for too long, and another one has answered for it"
    return ProtocolError(503, INTERNAL_ERROR, gone)
