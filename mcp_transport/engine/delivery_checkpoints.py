"""Checkpoints of how far GET streams were delivered, for clients that reconnect without an event id."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from mcp_transport.backends.results import Holder
from mcp_transport.domain.node_messages import GaveWay, Superseded
from mcp_transport.engine.clock import wait
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.node_requests import NodeRequests
from mcp_transport.engine.registry import Registry
from mcp_transport.engine.stream import OpenStream
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.cursor import GET_STREAM

__all__ = ["DeliveryCheckpoints"]

_SAVE_INTERVAL_SECONDS: Final = 1.0

# The time for a node to report how far it has delivered a stream that another node takes over.
_TAKEOVER_TIMEOUT_SECONDS: Final = 1.0


class DeliveryCheckpoints:
    """Saves at intervals, and not with every event, how far the GET streams of one node were delivered."""

    def __init__(self, context: NodeContext, registry: Registry) -> None:
        self._context, self._registry = context, registry
        self._unsaved: set[str] = set()
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._node_requests: NodeRequests[int] = NodeRequests(context.clock, _TAKEOVER_TIMEOUT_SECONDS)

    def delivered(self, stream: OpenStream) -> None:
        """Schedule a checkpoint of a stream that has delivered an event."""
        if stream.key not in self._unsaved:
            self._unsaved.add(stream.key)
            self._context.tasks.spawn(self._save_later(stream))

    def socket_closed(self, stream: OpenStream) -> None:
        """Record that a stream has lost its socket, and how far the socket got."""
        is_held = self._registry.streams.get((stream.key, stream.stream)) is stream
        if is_held and not stream.is_complete and not self._context.is_stopping:
            self._unsaved.discard(stream.key)
            closing = self._context.tasks.spawn(self._save(stream, left=stream.epoch))
            if stream.stream == GET_STREAM:
                self._track_closing(stream.key, closing)
        elif stream.stream == GET_STREAM and stream.key in self._unsaved:
            self._context.tasks.spawn(self._save_if_due(stream))

    def _track_closing(self, key: str, closing: asyncio.Task[None]) -> None:
        def discard(_: asyncio.Task[None]) -> None:
            if self._closing.get(key) is closing:  # another socket may have closed since
                del self._closing[key]

        self._closing[key] = closing
        closing.add_done_callback(discard)

    async def flush(self, key: str) -> None:
        """Save now how far this node has delivered a session's GET stream, if it holds or held the stream."""
        if (stream := self._registry.streams.get((key, GET_STREAM))) is not None:
            await self._save_if_due(stream)
        if (closing := self._closing.get(key)) is not None:
            await asyncio.wait([closing])

    async def take_over_from(self, key: str, previous: Holder, epoch: int) -> int:
        """End another node's response for a session's GET stream; return how far that node has delivered the stream.

        Return 0 if the node does not reply in time: the client may then receive events twice.
        """
        superseded = Superseded(key, GET_STREAM, epoch, self._context.id)
        with suppress(BackendError):
            return await self._node_requests.send(key, self._context.backend.bus.send(previous.node, superseded)) or 0
        return 0

    def receive(self, message: GaveWay) -> None:
        """Handle a node's reply about how far it has delivered a stream."""
        self._node_requests.resolve(message.key, message.delivered)

    async def _save_later(self, stream: OpenStream) -> None:
        await wait(self._context.clock, stream.ended, _SAVE_INTERVAL_SECONDS)
        await self._save_if_due(stream)

    async def _save_if_due(self, stream: OpenStream) -> None:
        if stream.key in self._unsaved:
            self._unsaved.discard(stream.key)
            await self._save(stream)

    async def _save(self, stream: OpenStream, left: int = 0) -> None:
        delivered = stream.cursor if stream.stream == GET_STREAM else 0  # clients of other streams send an event id
        broadcast = stream.last_delivered_broadcast
        with suppress(BackendError):
            await self._context.backend.streams.checkpoint(
                stream.key, stream.stream, delivered, broadcast, released_epoch=left
            )
