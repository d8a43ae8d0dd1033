"""A node that comes back: it stood still, or the store was away or emptied; others may have gone on without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mcp_transport.backends.base import Holder
from mcp_transport.engine.expiry import end_session
from mcp_transport.engine.stream import OpenStream
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.supervision import contained

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["come_back", "hold_again"]


async def come_back(node: Node) -> None:
    """Stop the calls that others have taken over, tell the store what it has lost, make up for what was missed."""
    try:
        await _each(node, [writer.check for writer in node.writers.values()])
    finally:
        node.is_checking = False
    await _each(node, [partial(hold_again, node, stream) for stream in node.streams.values()])
    await node.announcements.make_up()


async def _each(node: Node, works: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Do everything side by side: no session waits for another one whose record makes trouble."""

    async def one(work: Callable[[], Awaitable[object]]) -> None:
        with contained(f"node {node.id} cannot go on with a stream"):
            await node.insist(work)

    await asyncio.gather(*map(one, works))


async def hold_again(node: Node, stream: OpenStream) -> bool:
    """Tell a store that was emptied who holds a stream, or give way; return False if it is over.

    Raises: BackendError.
    """
    key, name, session = stream.key, stream.stream, stream.session
    if session is None or (await node.backend.get(key) is None and not await node.restore(session)):
        if session is None:
            end_session(node, key)
        else:
            node.expiry.end(session)
        return (key, name) in node.writers  # whose calls have an end that is yet to come
    if (writer := node.writers.get((key, name))) is not None:
        await writer.check()
    elif name != GET_STREAM and not stream.writer:
        return False  # its call is over, and nobody will write it any more
    # Whatever epoch the store names is news: read with the old one, this node would seem taken over by itself.
    before, stream.epoch = stream.epoch, 0
    appended = await node.backend.append(key, name, (), holder=node.id)
    if name == GET_STREAM:
        await node.backend.checkpoint(key, name, stream.cursor, stream.told)
    if stream.writer:
        node.ask_after(key, name, stream.writer)
    if appended is None or appended.holder is None:
        stream.epoch = before
        return appended is not None
    await _obey(node, stream, appended.holder)
    return True


async def _obey(node: Node, stream: OpenStream, holder: Holder) -> None:
    """Take the store's word for who holds a stream. Raises: BackendError."""
    place = stream.key, stream.stream
    if holder.node != node.id:
        if node.streams.get(place) is stream:
            node.give_way(*place, holder.epoch)
        return
    stream.epoch = holder.epoch
    if place in node.streams:
        stream.wake()
    else:  # its socket has left meanwhile, and could not say so
        await node.backend.checkpoint(*place, 0, released_epoch=holder.epoch)
