"""Requests that go through whatever breaks: tried again until something answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from tests.cluster.soak.ledger import Ledger, Story
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer
from tests.support.http.request import Request

AWAY = (502, 503, 504)
ANSWER_SECONDS = 30.0
_HURRIED = 0.05
"""How likely a client gives up early and asks again."""


class _Client(Client):
    """A client that forgets its answers: there are too many to keep."""

    patience = ANSWER_SECONDS

    async def send(self, request: Request, port: int | None = None, within: float = 0.0) -> SocketAnswer:
        answer = await super().send(request, port, self.patience)
        self.forget()
        return answer


class Traffic:
    """One client's requests, through the load balancer."""

    def __init__(self, port: int, ledger: Ledger, story: Story, dice: random.Random) -> None:
        self.client = _Client(port)
        self._ledger, self._story, self._dice = ledger, story, dice

    async def post(self, message: Any) -> tuple[SocketAnswer, int]:
        """Post a message; return the answer, and how often it was sent."""
        return await self._insist(f"POST {message.get('method', 'reply')}", lambda: self.client.post(message))

    async def get(self, last_event_id: str | None) -> SocketAnswer:
        """Open or resume a stream."""
        return (await self._insist(f"GET {last_event_id}", lambda: self.client.get(last_event_id)))[0]

    async def delete(self) -> SocketAnswer:
        """End the session."""
        return (await self._insist("DELETE", self.client.delete))[0]

    async def _insist(self, what: str, attempt: Callable[[], Awaitable[SocketAnswer]]) -> tuple[SocketAnswer, int]:
        sent = 0
        while True:
            sent += 1
            hurried = self._dice.random() < _HURRIED
            self.client.patience = self._dice.uniform(0.001, 0.1) if hurried else ANSWER_SECONDS
            try:
                answer = await attempt()
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                kind = "connection broken"
                if isinstance(error, TimeoutError):
                    kind = "gave up early" if hurried else "timeout"
            else:
                self._story.note(f"{what}: {answer.status}")
                if answer.status not in AWAY:
                    return answer, sent
                kind = str(answer.status)
                await answer.close()
            self._ledger.counts[f"refused: {kind}"] += 1
            self._story.note(f"{what}: {kind}")
            await asyncio.sleep(self._dice.uniform(0.05, 0.5))
