"""Requests that have ended while the store still lists them as in flight, since it is updated after the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import Cleared, Doubted
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.engine.log_appender import LogAppender
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.node_requests import NodeRequests
from mcp_transport.engine.registry import Registry
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["StaleRequests"]

# The time for a node to report whether a request that it runs has ended.
_REPLY_TIMEOUT_SECONDS: Final = 2.0


_RequestKey = tuple[str, str, RequestId]
"""The session key, the stream and the id of a request."""


class StaleRequests:
    """Asks the nodes that run requests whether these have ended, and removes those of this node from the store."""

    def __init__(self, context: NodeContext, registry: Registry, log: LogAppender) -> None:
        self._context, self._registry, self._log = context, registry, log
        self._node_requests: NodeRequests[bool] = NodeRequests(context.clock, _REPLY_TIMEOUT_SECONDS)

    async def have_ended(self, key: str, in_flight: Sequence[InFlightRequest]) -> bool | None:
        """Return whether all requests have ended and left the store; None if a node does not reply."""
        replies = await asyncio.gather(*(self._has_ended(key, entry) for entry in in_flight))
        return None if None in replies else all(replies)

    async def _has_ended(self, key: str, entry: InFlightRequest) -> bool | None:
        context, request_key = self._context, (key, entry.stream, entry.request_id)
        if entry.node == context.id:
            return await self._remove(*request_key)
        question = Doubted(*request_key, context.id)
        return await self._node_requests.send(request_key, context.backend.bus.send(entry.node, question))

    def receive(self, message: Doubted | Cleared) -> None:
        """Answer another node's question, or pass on another node's answer."""
        request_key = message.key, message.stream, message.request_id
        if isinstance(message, Doubted):
            self._context.tasks.spawn(self._answer(message.node, request_key))
            return
        self._node_requests.resolve(request_key, message.is_over)

    async def _answer(self, requester: str, request_key: _RequestKey) -> None:
        self._context.send_in_background(requester, Cleared(*request_key, await self._remove(*request_key)))

    async def _remove(self, key: str, stream: str, request_id: RequestId) -> bool:
        """Remove a request of this node from the store if it has ended; return whether it has."""
        if (writer := self._registry.writers.get((key, stream))) is not None:
            return await self._log.remove_request(writer, request_id)
        if self._registry.is_opening(key, stream):
            return False
        # The request never ran, or its removal is under way: a second removal changes nothing.
        leave, endings = self._context.backend.sessions.leave, {request_id: Ending.CANCELLED}
        await self._context.retry_until_expired(lambda: leave(key, endings, stream=stream))
        return True
