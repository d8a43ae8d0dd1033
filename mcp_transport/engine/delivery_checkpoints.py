"""How far GET streams were delivered: their clients may come back without an event id."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mcp_transport.backends.base import Holder
from mcp_transport.domain.node_messages import GaveWay, Superseded
from mcp_transport.engine.clock import wait
from mcp_transport.engine.node_requests import NodeRequests
from mcp_transport.engine.stream import OpenStream
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.cursor import GET_STREAM

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["DeliveryCheckpoints"]

# How often, in seconds, the store is told.
_EVERY: Final = 1.0

# Seconds that a node has to say how far it has delivered a stream which another one takes over.
_PATIENCE: Final = 1.0


class DeliveryCheckpoints:
    """Tells the store how far the GET streams held by one node were delivered, not with every event."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._due: set[str] = set()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._inquiries: NodeRequests[int] = NodeRequests(node.clock, _PATIENCE)

    def delivered(self, stream: OpenStream) -> None:
        """Note that a stream went on."""
        if stream.key not in self._due:
            self._due.add(stream.key)
            self._node.lifecycle.spawn(self._settle_later(stream))

    def let_go(self, stream: OpenStream) -> None:
        """Tell the store that a stream goes on without a socket, and how far the socket got."""
        is_held = self._node.streams.get((stream.key, stream.stream)) is stream
        if is_held and not stream.is_over and not self._node.is_stopping:
            self._due.discard(stream.key)
            leaving = self._node.lifecycle.spawn(self._mark(stream, left=stream.epoch))
            if stream.stream == GET_STREAM:
                self._note_leaving(stream.key, leaving)
        elif stream.stream == GET_STREAM and stream.key in self._due:
            self._node.lifecycle.spawn(self._settle(stream))

    def _note_leaving(self, key: str, leaving: asyncio.Task[None]) -> None:
        def forget(_: asyncio.Task[None]) -> None:
            if self._leaving.get(key) is leaving:  # another one may have left since
                del self._leaving[key]

        self._leaving[key] = leaving
        leaving.add_done_callback(forget)

    async def settle(self, key: str) -> None:
        """Tell the store how far a session's GET stream was delivered here, if it is held here."""
        if (stream := self._node.streams.get((key, GET_STREAM))) is not None:
            await self._settle(stream)
        if (leaving := self._leaving.get(key)) is not None:
            await asyncio.wait([leaving])

    async def taken_from(self, key: str, previous: Holder, epoch: int) -> int:
        """End the response of another node that held a session's GET stream; return how far it was delivered.

        That is 0 where the node does not say in time: its client may be told again what the store does not know of.
        """
        superseded = Superseded(key, GET_STREAM, epoch, self._node.id)
        with suppress(BackendError):
            return await self._inquiries.ask(key, self._node.backend.send(previous.node, superseded)) or 0
        return 0

    def receive(self, message: GaveWay) -> None:
        """Take a node's word on how far it has delivered a stream."""
        self._inquiries.answer(message.key, message.delivered)

    async def _settle_later(self, stream: OpenStream) -> None:
        await wait(self._node.clock, stream.ended, _EVERY)
        await self._settle(stream)

    async def _settle(self, stream: OpenStream) -> None:
        if stream.key in self._due:
            self._due.discard(stream.key)
            await self._mark(stream)

    async def _mark(self, stream: OpenStream, left: int = 0) -> None:
        delivered = stream.cursor if stream.stream == GET_STREAM else 0  # other clients say how far they are
        with suppress(BackendError):
            await self._node.backend.checkpoint(
                stream.key, stream.stream, delivered, stream.told, released_epoch=left
            )
