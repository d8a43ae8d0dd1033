"""Sessionless requests (2026-07-28): one POST, one response, nothing stored, no round trip to a store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp_transport.domain.principal import Principal
from mcp_transport.engine.call import Call
from mcp_transport.engine.clock import wait
from mcp_transport.engine.coalesced_call import CoalescedCall
from mcp_transport.engine.codec import encode_notification
from mcp_transport.engine.node import Node
from mcp_transport.engine.reply import outcome_reply
from mcp_transport.engine.stream import Frames, Pipe
from mcp_transport.engine.tasks import set_within_two_ticks
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import Caller, ClientChannel
from mcp_transport.protocol import sse
from mcp_transport.protocol.errors import INVALID_REQUEST, sessionless_status
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.jsonrpc import Outcome, Request
from mcp_transport.protocol.versions import sessionless

__all__ = ["serve"]


class _ResponseChannel(ClientChannel):
    """The channel to a sessionless client: notifications go to the response's stream, nothing else is possible."""

    def __init__(self, pipe: Pipe, can_stream: bool, limit: int) -> None:
        self._pipe, self._can_stream, self._limit = pipe, can_stream, limit
        self.has_messages = False
        self.output_ready = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Return whether the next notification would wait for the client."""
        return self._pipe.is_full

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        if self._can_stream:
            payload = encode_notification(method, params, self._limit)
            is_first, self.has_messages = not self.has_messages, True
            self.output_ready.set()
            await self._pipe.put(sse.event(payload))
            if is_first:
                await asyncio.sleep(0)  # sends it before a handler that never awaits continues


async def serve(node: Node, request: HTTPRequest, message: Request, principal: Principal) -> Reply | StreamReply:
    """Answer one request with JSON if it ends in time and sends no notification, or else with a stream.

    Raises:
        ProtocolError: 400 from the envelope's checks; 406 if the method needs a stream and none is possible.
    """
    accepts = request.headers.accepts
    can_stream = accepts.sse and request.streaming
    if message.method == "subscriptions/listen" and not can_stream:
        raise ProtocolError(406, INVALID_REQUEST, "subscriptions/listen answers with text/event-stream")
    client = node.kernel.open_envelope(message, request.headers, sessionless(node.policy.versions))
    pipe = Pipe(node.clock, node.policy.keepalive)
    channel = _ResponseChannel(pipe, can_stream, node.policy.max_result_bytes)
    version = client.protocol_version
    limits = node.kernel.limits(message)
    node.admission.check(principal.caller(request.peer), message, limits)
    if limits.circuit_breaker is not None:
        node.breakers.refuse(message, limits.circuit_breaker)
    context = node.call_context(request, principal)
    exchange = lambda _: node.exchange(client, channel, Caller(request, principal), message)  # noqa: E731
    kind = CoalescedCall if limits.coalesce or message.method in node.coalesced_methods else Call
    call = kind(
        node, message, version, request, principal, build_exchange=exchange, call_context=context, limits=limits
    )
    await node.kernel.check_param_headers(message, request.headers, version, call.exchange)

    def done(call: Call) -> None:
        node.registry.remove_call(call)
        pipe.end(sse.event(call.payload) if call.outcome is not None else b"")
        channel.output_ready.set()

    node.registry.add_call(call)
    call.start(done, request.memory)
    try:
        # 2026-07-28, streamable-http: a status other than 200 is only possible before the stream begins.
        if not await set_within_two_ticks(channel.output_ready):
            call.expect_timeout()
            await wait(node.clock, channel.output_ready, node.policy.sse_after if can_stream else None)
    except asyncio.CancelledError:
        call.cancel()
        raise
    if call.outcome is not None and not channel.has_messages:
        return outcome_reply(call.outcome, call.payload, accepts, status=_status(call.outcome))
    return StreamReply(status=200, headers=sse.HEADERS, frames=Frames(pipe.frames(), on_close=call.cancel))


def _status(outcome: Outcome) -> int:
    if outcome.error is None:
        return 200
    return 400 if outcome.malformed else sessionless_status(outcome.error["code"])
