"""What carries requests to what is tested: a network, or a call in this process."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from tests.support.http.answer import Answer
from tests.support.http.request import Request


class Line(ABC):
    """A connection that can carry one request after the other."""

    @abstractmethod
    async def write(self, raw: bytes) -> None: ...

    @abstractmethod
    async def answer(self, method: str) -> Answer: ...


class Carrier(ABC):
    """Carries requests to the served project."""

    @abstractmethod
    async def send(self, request: Request) -> Answer:
        """Send a request on a connection of its own and wait for the head of its answer."""

    async def connect(self) -> Line:
        """Open a connection; only a carrier with real ones has this."""
        raise NotImplementedError

    async def abandon(self, sending: asyncio.Future[Answer]) -> None:
        """Leave while `send` still waits for the head of an answer."""
        sending.cancel()
        await asyncio.wait([sending])

    @abstractmethod
    async def close(self) -> None:
        """Cut what is still open."""
