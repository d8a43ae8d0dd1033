"""Reconnection of a node that was paused, or whose store was unavailable: others may have taken over its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mcp_transport.backends.base import Holder
from mcp_transport.engine.expiry import end_session
from mcp_transport.engine.stream import OpenStream
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.supervision import suppress_and_log

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["reclaim_stream", "resynchronize"]


async def resynchronize(node: Node) -> None:
    """Stop calls that others have taken over, restore what the store has lost, and deliver missed broadcasts."""
    try:
        await _run_all(node, [writer.verify_and_restore for writer in node.writers.values()])
    finally:
        node.is_checking = False
    await _run_all(node, [partial(reclaim_stream, node, stream) for stream in node.streams.values()])
    await node.broadcasts.deliver_missed()


async def _run_all(node: Node, operations: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Run operations concurrently, so that a session whose record cannot be read delays no other session."""

    async def run(operation: Callable[[], Awaitable[object]]) -> None:
        with suppress_and_log(f"node {node.id} cannot continue a stream"):
            await node.retry_until_expired(operation)

    await asyncio.gather(*map(run, operations))


async def reclaim_stream(node: Node, stream: OpenStream) -> bool:
    """Record again in an emptied store who holds a stream, or yield to a newer holder; return False if it has ended.

    Raises: BackendError.
    """
    key, name, session = stream.key, stream.stream, stream.session
    if session is None or (await node.backend.sessions.get(key) is None and not await node.restore(session)):
        if session is None:
            end_session(node, key)
        else:
            node.expiry.end_missing(session)
        return (key, name) in node.writers  # then the responses of its calls are yet to come
    if (writer := node.writers.get((key, name))) is not None:
        await writer.verify_and_restore()
    elif name != GET_STREAM and not stream.writer:
        return False  # its call has ended, and nothing more will be written
    # The store may return a new epoch. With the old one, a read would report that this node superseded itself.
    before, stream.epoch = stream.epoch, 0
    appended = await node.backend.streams.append(key, name, (), holder=node.id)
    if name == GET_STREAM:
        await node.backend.streams.checkpoint(key, name, stream.cursor, stream.last_delivered_broadcast)
    if stream.writer:
        node.verify_writer(key, name, stream.writer)
    if appended is None or appended.holder is None:
        stream.epoch = before
        return appended is not None
    await _adopt_holder(node, stream, appended.holder)
    return True


async def _adopt_holder(node: Node, stream: OpenStream, holder: Holder) -> None:
    """Adopt the store's record of who holds a stream. Raises: BackendError."""
    stream_key = stream.key, stream.stream
    if holder.node != node.id:
        if node.streams.get(stream_key) is stream:
            node.yield_to_newer_holder(*stream_key, holder.epoch)
        return
    stream.epoch = holder.epoch
    if stream_key in node.streams:
        stream.wake()
    else:  # its socket closed while the store was unavailable
        await node.backend.streams.checkpoint(*stream_key, 0, released_epoch=holder.epoch)
