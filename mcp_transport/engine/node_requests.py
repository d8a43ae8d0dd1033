"""Requests from one node to another by node messages, and their replies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable
from typing import Generic, TypeVar

from mcp_transport.engine.clock import Clock, wait

__all__ = ["NodeRequests"]

_T = TypeVar("_T")


class _PendingRequest(Generic[_T]):
    def __init__(self, subject: Hashable) -> None:
        self.subject, self.answered = subject, asyncio.Event()
        self.reply: _T | None = None


class NodeRequests(Generic[_T]):
    """Waits for the replies of other nodes, at most `timeout` seconds for each."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock, self._timeout = clock, timeout
        self._pending: set[_PendingRequest[_T]] = set()

    async def send(self, subject: Hashable, sent: Awaitable[bool]) -> _T | None:
        """Send a message about a subject; return the reply, or None if the node is dead or does not reply in time.

        Raises: BackendError.
        """
        request: _PendingRequest[_T] = _PendingRequest(subject)
        self._pending.add(request)
        try:
            if await sent:
                await wait(self._clock, request.answered, self._timeout)
        finally:
            self._pending.discard(request)
        return request.reply

    def resolve(self, subject: Hashable, reply: _T) -> None:
        """Pass a reply to the requests that wait for it."""
        for request in self._pending:
            if request.subject == subject:
                request.reply = reply
                request.answered.set()
