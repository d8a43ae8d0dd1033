"""Reconnection of a node that was paused, or whose store was unavailable: others may have taken over its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from mcp_transport.backends.results import Holder
from mcp_transport.engine.broadcasts import Broadcasts
from mcp_transport.engine.expiry import Expiry
from mcp_transport.engine.log_appender import LogAppender
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.registry import Registry
from mcp_transport.engine.stream import OpenStream
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.supervision import suppress_and_log

__all__ = ["Reconnection"]


class Reconnection:
    """Brings a node's calls and streams in line with the store."""

    def __init__(
        self,
        context: NodeContext,
        registry: Registry,
        log: LogAppender,
        expiry: Expiry,
        broadcasts: Broadcasts,
        verify_writer: Callable[[str, str, str], None],
    ) -> None:
        """Call `verify_writer` with the session, stream and writer of each stream that another node writes."""
        self._context, self._registry, self._log, self._expiry = context, registry, log, expiry
        self._broadcasts, self._verify_writer = broadcasts, verify_writer

    async def resynchronize(self) -> None:
        """Stop calls that others have taken over, restore what the store has lost, and deliver missed broadcasts."""
        try:
            verify = self._log.verify_and_restore
            await self._run_all([partial(verify, writer) for writer in self._registry.writers.values()])
        finally:
            self._context.is_checking = False
        await self._run_all([partial(self.reclaim, stream) for stream in self._registry.streams.values()])
        await self._broadcasts.deliver_missed()

    async def _run_all(self, operations: Sequence[Callable[[], Awaitable[object]]]) -> None:
        """Run operations concurrently, so that a session whose record cannot be read delays no other session."""

        async def run(operation: Callable[[], Awaitable[object]]) -> None:
            with suppress_and_log(f"node {self._context.id} cannot continue a stream"):
                await self._context.retry_until_expired(operation)

        await asyncio.gather(*map(run, operations))

    async def reclaim(self, stream: OpenStream) -> bool:
        """Record again in an emptied store who holds a stream, or yield to a newer holder; return False if it ended.

        Raises: BackendError.
        """
        context, key, name = self._context, stream.key, stream.stream
        if await context.backend.sessions.get(key) is None and not await context.restore(stream.session):
            self._expiry.end_missing(stream.session)
            return (key, name) in self._registry.writers  # then the responses of its calls are yet to come
        if (writer := self._registry.writers.get((key, name))) is not None:
            await self._log.verify_and_restore(writer)
        elif name != GET_STREAM and not stream.writer:
            return False  # its call has ended, and nothing more will be written
        # The store may return a new epoch. With the old one, a read would report that this node superseded itself.
        before, stream.epoch = stream.epoch, 0
        appended = await context.backend.streams.append(key, name, (), holder=context.id)
        if name == GET_STREAM:
            await context.backend.streams.checkpoint(key, name, stream.cursor, stream.last_delivered_broadcast)
        if stream.writer:
            self._verify_writer(key, name, stream.writer)
        if appended is None or appended.holder is None:
            stream.epoch = before
            return appended is not None
        await self._adopt_holder(stream, appended.holder)
        return True

    async def _adopt_holder(self, stream: OpenStream, holder: Holder) -> None:
        """Adopt the store's record of who holds a stream. Raises: BackendError."""
        stream_key = stream.key, stream.stream
        if holder.node != self._context.id:
            if self._registry.streams.get(stream_key) is stream:
                self._registry.yield_to_newer_holder(*stream_key, holder.epoch)
            return
        stream.epoch = holder.epoch
        if stream_key in self._registry.streams:
            stream.wake()
        else:  # its socket closed while the store was unavailable
            await self._context.backend.streams.checkpoint(*stream_key, 0, released_epoch=holder.epoch)
