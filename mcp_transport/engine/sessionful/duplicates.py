"""Answers to a POST that the client repeats, so that its requests do not run twice (ADR 7, ADR 33)."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_transport.backends.results import Attached, Holder
from mcp_transport.domain.node_messages import Joined
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.engine.codec import decode, encode
from mcp_transport.engine.reply import cancelled_response, complete_reply, node_unresponsive
from mcp_transport.engine.sessionful.request_context import SessionRequest
from mcp_transport.engine.sessionful.streams import attach, resumed_stream, unheld_stream_reply
from mcp_transport.protocol.cursor import Cursor
from mcp_transport.protocol.errors import invalid_request, lost_answer_error
from mcp_transport.protocol.http import Reply, StreamReply
from mcp_transport.protocol.idempotency import is_keyed, key_in_use, key_reused
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["answer_running", "replayed_answer"]


async def answer_running(
    context: SessionRequest, stream: str, digest: bytes, running: Sequence[InFlightRequest], checked: frozenset[str]
) -> StreamReply | None:
    """Join requests in flight; return None if they have ended and left nothing to join.

    Requests on the streams `checked` were checked before and have not ended.

    Raises:
        ProtocolError: 422 or 409 for an idempotency key in use; 400 for a request id in use; 503 if the node that
            runs the requests does not reply.
    """
    is_own = is_keyed(stream) and running[0].stream == stream
    if is_own and running[0].digest != digest:
        raise key_reused()
    if is_own and context.accepts.sse and running[0].node != context.node.id:
        have_ended: bool | None = False  # if it has ended, its response is or will be in the log
    else:
        stale, must_check = context.node.stale_requests, any(entry.stream not in checked for entry in running)
        have_ended = await stale.have_ended(context.session.key, running) if must_check else False
    if have_ended:
        return None
    if context.accepts.sse and (is_own or not is_keyed(stream)) and all(item.digest == digest for item in running):
        return await _join(context, running[0])
    if have_ended is None:
        for entry in running:
            context.node.verify_writer(context.session.key, entry.stream, entry.node)
        raise node_unresponsive()
    if is_own:
        raise key_in_use()
    raise invalid_request("a request with this id is in flight: an id must not be used twice in a session")


async def _join(context: SessionRequest, first: InFlightRequest) -> StreamReply | None:
    """Answer a repeated POST with the stream of the first one, so that the tool runs once."""
    context.node.send_in_background(first.node, Joined(context.session.key, first.stream, first.request_id))
    try:
        return await attach(context.node, context.session_id, context.principal, Cursor(first.stream, 0))
    except LookupError:
        return None


async def replayed_answer(
    context: SessionRequest, stream: str, digest: bytes, stored_digest: bytes, request_id: RequestId
) -> Reply | StreamReply | None:
    """Answer with the stored response of a request with the same idempotency key; None if it has just expired.

    Raises:
        ProtocolError: 422 if the bodies differ; `stored_digest` is that of the earlier request.
    """
    if stored_digest not in (b"", digest):
        raise key_reused()
    try:
        events, lost = await context.node.backend.streams.read(context.session.key, stream, 0)
    except LookupError:
        return None
    if not events or not events[-1].terminal:  # evicted by a store without free memory
        body = {"jsonrpc": "2.0", "id": request_id, "error": lost_answer_error()}
        return complete_reply(encode(body), context.accepts)
    if not stored_digest and events[-1].payload and decode(events[-1].payload).get("id") != request_id:
        raise key_reused()
    if not events[-1].payload:
        return complete_reply(cancelled_response(request_id), context.accepts)
    if (len(events) == 1 and not lost) or not context.accepts.sse:
        return complete_reply(events[-1].payload, context.accepts)
    # The stream has no holder; a client that is cut off resumes it like any other stream.
    attached = Attached(context.session, Holder("", 0), None, events, 0, ended=True, lost=lost)
    return unheld_stream_reply(resumed_stream(context.node, stream, attached))
