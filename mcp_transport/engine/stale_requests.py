"""Requests that are over while the store's books still have them, since these are written behind the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import Cleared, Doubted
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.engine.node_requests import NodeRequests
from mcp_transport.protocol.jsonrpc import RequestId

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["StaleRequests"]

# Seconds that a node has to say whether a request of its is over.
_PATIENCE: Final = 2.0


_Place = tuple[str, str, RequestId]
"""Of a request: the key of its session, its stream, its id."""


class StaleRequests:
    """Asks the nodes that run requests whether these are over, and takes those of this node off the books."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._inquiries: NodeRequests[bool] = NodeRequests(node.clock, _PATIENCE)

    async def are_over(self, key: str, flights: Sequence[InFlightRequest]) -> bool | None:
        """Tell whether requests on the books are over, and off them by now; None when a node does not say."""
        words = await asyncio.gather(*(self._is_over(key, flight) for flight in flights))
        return None if None in words else all(words)

    async def _is_over(self, key: str, flight: InFlightRequest) -> bool | None:
        node, place = self._node, (key, flight.stream, flight.request_id)
        if flight.node == node.id:
            return await self._clear(*place)
        return await self._inquiries.ask(place, node.backend.send(flight.node, Doubted(*place, node.id)))

    def receive(self, message: Doubted | Cleared) -> None:
        """Answer another node's doubt, or hand its word to those who wait for it."""
        place = message.key, message.stream, message.request_id
        if isinstance(message, Doubted):
            self._node.lifecycle.spawn(self._answer(message.node, place))
            return
        self._inquiries.answer(place, message.is_over)

    async def _answer(self, asker: str, place: _Place) -> None:
        self._node.tell(asker, Cleared(*place, await self._clear(*place)))

    async def _clear(self, key: str, stream: str, request_id: RequestId) -> bool:
        """Take a request of this node off the books, if it is over; return whether that is so."""
        node = self._node
        if (writer := node.writers.get((key, stream))) is not None:
            return await writer.clear(request_id)
        if (key, stream) in node.arrivals:
            return False
        # It never ran, or what took it off the books is under way: to do so twice changes nothing.
        endings = {request_id: Ending.CANCELLED}
        await node.insist(lambda: node.backend.leave(key, endings, stream=stream))
        return True
