"""GET: the session's own stream, or the resumption of any stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mcp_transport.backends.results import Attached, StreamOver
from mcp_transport.domain.node_messages import Superseded
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key
from mcp_transport.engine.node import Node
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.sessionful.request_context import with_rehydration
from mcp_transport.engine.stream import Frames, OpenStream
from mcp_transport.protocol import sse
from mcp_transport.protocol.cursor import GET_STREAM, Cursor
from mcp_transport.protocol.errors import invalid_request
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.request_checks import check_version, required_session_id, session_not_found

__all__ = ["attach", "get", "resumed_stream", "stream_reply", "unheld_stream_reply"]


async def get(node: Node, request: HTTPRequest, principal: Principal) -> Reply | StreamReply:
    """Open the session's GET stream, or resume any stream of the session after `Last-Event-ID`.

    A stream that has ended, with nothing left to send, is answered with 204, which stops clients from reconnecting
    (HTML Living Standard, server-sent events, "Processing model"; ADR 31).

    Raises:
        ProtocolError: 400 for a missing session id or an unknown event id; 404 for an unknown session.
    """
    session_id = required_session_id(request)
    check_version(request, node.policy)
    last_event_id = request.headers.get("last-event-id")
    cursor = Cursor.parse(last_event_id) if last_event_id else None
    if cursor is not None and _is_over(node, session_key(session_id), cursor):
        await _admit(node, session_id, principal)
        return Reply(status=204)
    if cursor is not None and cursor.moved:
        has_ended = _writer_has_ended(node, session_key(session_id), cursor.stream)
        if not has_ended and await _is_held(node, session_id, principal, cursor.stream):
            return Reply(status=204)
        cursor = None if cursor.stream == GET_STREAM else cursor  # another response may have delivered more
    try:
        return await attach(node, session_id, principal, cursor)
    except StreamOver:
        return Reply(status=204)
    except LookupError:
        raise invalid_request("Last-Event-ID is not a stored event of this session") from None


def _is_over(node: Node, key: str, cursor: Cursor) -> bool:
    """Return whether a call of this node has ended after event `cursor`; the store may not know yet."""
    writer = node.registry.writers.get((key, cursor.stream))
    return writer is not None and writer.ended_silently_after(cursor.seq)


def _writer_has_ended(node: Node, key: str, stream: str) -> bool:
    """Return whether a call of this node has sent its last event; the store may not know yet."""
    writer = node.registry.writers.get((key, stream))
    return writer is not None and writer.has_ended


async def _admit(node: Node, session_id: str, principal: Principal) -> None:
    """Enter the session. Raises: ProtocolError, 404 for an unknown session."""
    key = session_key(session_id)
    if not await with_rehydration(
        node, session_id, principal, lambda: node.backend.sessions.enter(key, principal.binding, node.id)
    ):
        raise session_not_found()


async def _is_held(node: Node, session_id: str, principal: Principal, stream: str) -> bool:
    """Return whether a live node holds an open stream. Raises: ProtocolError, 404 for an unknown session."""
    await _admit(node, session_id, principal)
    key = session_key(session_id)
    records = [
        record
        for record in await node.backend.streams.stream_records(key)
        if record.name == stream and not record.ended
    ]
    holders = {record.holder for record in records if record.holder}
    if not node.backend.shares_streams:
        return bool(holders)  # of this process
    return not holders.isdisjoint([peer.name for peer in await node.backend.bus.nodes_of(key)])


async def attach(node: Node, session_id: str, principal: Principal, cursor: Cursor | None) -> StreamReply:
    """Take over the stream of `cursor`, or the GET stream, from its current holder.

    Raises:
        StreamOver: the stream has ended, and nothing is left to send.
        LookupError: the event is unknown.
        ProtocolError: 404 for an unknown session.
    """
    key = session_key(session_id)
    stream, after = (cursor.stream, cursor.seq) if cursor else (GET_STREAM, None)
    if cursor is None:
        await node.checkpoints.flush(key)

    async def take_over() -> Attached | None:
        return await node.backend.streams.attach(key, principal.binding, stream, after, node.id)

    with node.registry.opening(key, stream) as early_messages:
        attached = await with_rehydration(node, session_id, principal, take_over)
        if attached is None:
            raise session_not_found()
        if cursor is None:
            attached = await _skip_delivered(node, key, attached)
        reply = stream_reply(node, resumed_stream(node, stream, attached))
    for message in tuple(early_messages):
        node.receive(message)
    _notify_others(node, key, stream, attached)
    return reply


async def _skip_delivered(node: Node, key: str, attached: Attached) -> Attached:
    """Skip events that the previous holder of a GET stream has delivered since its last checkpoint."""
    previous = attached.previous
    if previous is None or previous.node == node.id or not attached.events:
        return attached
    delivered = await node.checkpoints.take_over_from(key, previous, attached.holder.epoch)
    remaining = tuple(event for event in attached.events if event.seq > delivered)
    return replace(attached, events=remaining, cursor=max(attached.cursor, delivered))


def _notify_others(node: Node, key: str, stream: str, attached: Attached) -> None:
    if attached.previous is not None:
        node.observer.report(ClusterEvent.TAKEN_OVER, key, stream=stream)
        node.send_in_background(attached.previous.node, Superseded(key, stream, attached.holder.epoch))
    if attached.writer:
        node.verify_writer(key, stream, attached.writer)
    if stream == GET_STREAM:
        node.broadcasts.catch_up(key, attached.last_broadcast)


def resumed_stream(node: Node, stream: str, attached: Attached) -> OpenStream:
    """Build the response that continues a stream."""
    open_stream = OpenStream(
        node,
        attached.session,
        stream,
        attached.cursor,
        epoch=attached.holder.epoch,
        writer=attached.writer,
        events=attached.events,
        lost=attached.lost,
        last_broadcast=attached.last_broadcast,
        restore=node.reconnection.reclaim,
        on_newer_holder=node.registry.yield_to_newer_holder,
        on_delivered=node.checkpoints.delivered if stream == GET_STREAM else None,
    )
    if attached.ended:
        open_stream.end()
    return open_stream


def stream_reply(node: Node, stream: OpenStream) -> StreamReply:
    """Answer with a stream that this node holds until its socket closes."""
    node.registry.add_stream(stream)
    return unheld_stream_reply(stream, on_close=lambda: node.socket_closed(stream))


def unheld_stream_reply(stream: OpenStream, on_close: Callable[[], None] | None = None) -> StreamReply:
    """Answer with a stream; without `on_close`, one that no node holds."""
    frames = Frames(stream.frames(), on_close=on_close or stream.end)
    return StreamReply(status=200, headers=sse.HEADERS, frames=frames)
