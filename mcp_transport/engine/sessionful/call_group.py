"""The requests of one POST, run concurrently and answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set

from mcp_transport.engine.call import Call
from mcp_transport.engine.clock import wait
from mcp_transport.engine.coalesced_call import CoalescedCall
from mcp_transport.engine.reply import batch_error, cancelled_response, complete_reply, outcome_reply
from mcp_transport.engine.session_channel import CallChannel
from mcp_transport.engine.sessionful.request_context import SessionRequest
from mcp_transport.engine.sessionful.streams import stream_reply, unheld_stream_reply
from mcp_transport.engine.stream import OpenStream
from mcp_transport.engine.tasks import set_within_two_ticks
from mcp_transport.engine.writer import Writer
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import Exchange
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.http import Reply, StreamReply
from mcp_transport.protocol.jsonrpc import Outcome, Request, RequestId

__all__ = ["CallGroup"]


class CallGroup:
    """The requests of one POST, run concurrently and answered together."""

    def __init__(
        self,
        context: SessionRequest,
        writer: Writer,
        requests: Sequence[Request],
        *,
        cancelled: Set[RequestId] = frozenset(),
        faults: Sequence[ProtocolError] = (),
        batch: bool = False,
    ) -> None:
        """Prepare `requests`; answer those in `cancelled`, and the `faults` of a batch, with an error."""
        self._context, self._node, self._is_batch = context, context.node, batch
        self._writer = writer
        self._requests = [request for request in requests if request.id not in cancelled] if cancelled else requests
        self._running = len(self._requests)
        self._outcome: Outcome | None = None
        self._calls: list[Call] = []
        self._responses = [batch_error(fault) for fault in faults]
        self._responses += [cancelled_response(request.id) for request in requests if request.id in cancelled]

    def _exchange(self, request: Request) -> Exchange:
        context = self._context
        node, can_stream = context.node, context.accepts.sse
        channel = CallChannel(node, node.client_requests, node.log, self._writer, can_stream=can_stream)
        return node.exchange(context.client_info(), channel, context.caller(), request)

    def start(self) -> None:
        """Start the calls, without waiting for them."""
        self._start()
        self._expect_timeouts()

    def _expect_timeouts(self) -> None:
        for call in tuple(self._calls):
            call.expect_timeout()

    def _start(self) -> None:
        context, node = self._context, self._node
        for request in self._requests:
            limits = node.kernel.limits(request)
            kind = CoalescedCall if limits.coalesce or request.method in node.coalesced_methods else Call
            call = kind(
                node,
                request,
                context.session.protocol_version,
                context.request,
                context.principal,
                build_exchange=self._exchange,
                call_context=node.call_context(context.sent_request, context.principal),
                limits=limits,
                writer=self._writer,
            )
            self._calls.append(call)
            node.registry.add_call(call)
            call.start(self._on_call_end, context.request.memory)
        for number, payload in enumerate(self._responses, 1):
            if self._running or number < len(self._responses):
                self._writer.add_response(payload)
            else:
                self._writer.end(payload)

    async def run(self) -> Reply | StreamReply:
        """Start the calls; answer with JSON if all end in time and send nothing else, or else with a stream.

        Raises:
            ProtocolError: 503 if another node has taken over the calls.
        """
        self._start()
        accepts, clock = self._context.accepts, self._node.clock
        try:
            if not await set_within_two_ticks(self._writer.output_ready):
                self._expect_timeouts()
                await wait(clock, self._writer.output_ready, self._node.policy.sse_after if accepts.sse else None)
        except asyncio.CancelledError:
            # 2025-11-25, basic/transports: a disconnect is no cancellation. The client may repeat the POST.
            self._expect_timeouts()
            self._node.log.enable(self._writer)
            raise
        if self._writer.is_stopped:
            raise _lost_lease_error()
        if self._running or self._writer.has_messages or (not self._responses and accepts.sse):
            return self._stream()
        await self._remove_requests()
        if not self._responses:
            self._responses = [cancelled_response(request_id) for request_id in self._writer.request_ids]
        if self._is_batch:
            return complete_reply(b"[" + b",".join(self._responses) + b"]", accepts)
        # 200 also for a call that was refused for load: another status ends the session of some clients.
        return outcome_reply(self._outcome or Outcome(), self._responses[0], accepts, status_of_refusal=200)

    def _on_call_end(self, call: Call) -> None:
        self._node.registry.remove_call(call)
        self._calls.remove(call)  # which has a reference to this group
        self._running -= 1
        self._writer.record_ending(call.request.id, call.ended)
        if call.outcome is not None:
            self._outcome = call.outcome
            self._responses.append(call.payload)
            if call.outcome.status and self._writer.is_keyed:
                self._node.log.discard(self._writer)  # the request did not run: its key can be used again
        if not self._running:
            self._writer.end(call.payload)
        elif call.outcome is not None:
            self._writer.add_response(call.payload)

    async def _remove_requests(self) -> None:
        """Remove the requests from the store in the background, after the response."""
        if self._node.lease_may_be_lost(self._writer.key):
            await self._node.log.stop_if_fenced(self._writer)
            if self._writer.is_stopped:
                raise _lost_lease_error()
        removal = self._node.tasks.spawn(self._node.log.remove_requests(self._writer))
        if not self._context.request.streaming:
            await asyncio.wait([removal])  # the loop ends with this request

    def _stream(self) -> StreamReply:
        node, writer = self._node, self._writer
        is_repeated = writer.is_logged  # the client has repeated its POST, which has the stream now
        may_be_lost = node.lease_may_be_lost(writer.key)  # then the log decides
        stream = OpenStream(
            node,
            self._context.session,
            writer.stream,
            0,
            events=() if may_be_lost else writer.unlogged,
            lost=writer.unlogged[0].seq - 1 if writer.unlogged else 0,
            starts_from_log=may_be_lost,
            restore=node.reconnection.reclaim,
            on_newer_holder=node.registry.yield_to_newer_holder,
        )
        if is_repeated:
            stream.end()
            return unheld_stream_reply(stream)
        node.log.enable(writer, holder=node.id)
        if writer.closes_on_open:
            stream.end()
        return stream_reply(node, stream)


def _lost_lease_error() -> ProtocolError:
    problem = "this node lost its lease; another node took over the call"
    return ProtocolError(503, INTERNAL_ERROR, problem)
