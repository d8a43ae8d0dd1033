"""What one node asks another, through the inboxes, and waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable
from typing import Generic, TypeVar

from mcp_transport.engine.clock import Clock, wait

__all__ = ["NodeRequests"]

_T = TypeVar("_T")


class _Inquiry(Generic[_T]):
    def __init__(self, subject: Hashable) -> None:
        self.subject, self.answered = subject, asyncio.Event()
        self.answer: _T | None = None


class NodeRequests(Generic[_T]):
    """Waits for the answers of other nodes, `patience` seconds at most."""

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock, self._patience = clock, patience
        self._waiting: set[_Inquiry[_T]] = set()

    async def ask(self, subject: Hashable, sent: Awaitable[bool]) -> _T | None:
        """Send a message about a subject; return the answer, None if the node is gone or does not say.

        Raises: BackendError.
        """
        inquiry: _Inquiry[_T] = _Inquiry(subject)
        self._waiting.add(inquiry)
        try:
            if await sent:
                await wait(self._clock, inquiry.answered, self._patience)
        finally:
            self._waiting.discard(inquiry)
        return inquiry.answer

    def answer(self, subject: Hashable, answer: _T) -> None:
        """Hand an answer to those who wait for it."""
        for inquiry in self._waiting:
            if inquiry.subject == subject:
                inquiry.answer = answer
                inquiry.answered.set()
