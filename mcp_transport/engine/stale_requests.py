"""Requests that have ended while the store still lists them as in flight, since it is updated after the answer."""

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

# The time for a node to report whether a request that it runs has ended.
_REPLY_TIMEOUT_SECONDS: Final = 2.0


_RequestKey = tuple[str, str, RequestId]
"""The session key, the stream and the id of a request."""


class StaleRequests:
    """Asks the nodes that run requests whether these have ended, and removes those of this node from the store."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._node_requests: NodeRequests[bool] = NodeRequests(node.clock, _REPLY_TIMEOUT_SECONDS)

    async def have_ended(self, key: str, in_flight: Sequence[InFlightRequest]) -> bool | None:
        """Return whether all requests have ended and left the store; None if a node does not reply."""
        replies = await asyncio.gather(*(self._has_ended(key, entry) for entry in in_flight))
        return None if None in replies else all(replies)

    async def _has_ended(self, key: str, entry: InFlightRequest) -> bool | None:
        node, request_key = self._node, (key, entry.stream, entry.request_id)
        if entry.node == node.id:
            return await self._remove(*request_key)
        question = Doubted(*request_key, node.id)
        return await self._node_requests.send(request_key, node.backend.bus.send(entry.node, question))

    def receive(self, message: Doubted | Cleared) -> None:
        """Answer another node's question, or pass on another node's answer."""
        request_key = message.key, message.stream, message.request_id
        if isinstance(message, Doubted):
            self._node.tasks.spawn(self._answer(message.node, request_key))
            return
        self._node_requests.resolve(request_key, message.is_over)

    async def _answer(self, requester: str, request_key: _RequestKey) -> None:
        self._node.send_in_background(requester, Cleared(*request_key, await self._remove(*request_key)))

    async def _remove(self, key: str, stream: str, request_id: RequestId) -> bool:
        """Remove a request of this node from the store if it has ended; return whether it has."""
        node = self._node
        if (writer := node.writers.get((key, stream))) is not None:
            return await writer.remove_request(request_id)
        if (key, stream) in node.early_messages:
            return False
        # The request never ran, or its removal is under way: a second removal changes nothing.
        endings = {request_id: Ending.CANCELLED}
        await node.retry_until_expired(lambda: node.backend.sessions.leave(key, endings, stream=stream))
        return True
