"""Requests that carry an idempotency key, and an operation of a store that waits until the test lets it go."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp_transport.backends.base import Backend
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import BOTH, Answer, Frame, SessionClient
from tests.support.clock import settle

JSON_ONLY = {"accept": "application/json"}
ADD = {"a": 1, "b": 2}


class Hold:
    """Has one operation of a backend wait, from now on until it is released."""

    def __init__(self, backend: Backend, operation: str) -> None:
        self.reached, self._released = asyncio.Event(), asyncio.Event()
        part = next(part for part in (backend.sessions, backend.streams) if hasattr(part, operation))
        self._work = getattr(part, operation)
        setattr(part, operation, self._wait)

    async def _wait(self, *arguments: Any, **options: Any) -> Any:
        self.reached.set()
        async with asyncio.timeout(60):
            await self._released.wait()
        return await self._work(*arguments, **options)

    async def reach(self) -> None:
        """Wait until somebody waits for the operation."""
        async with asyncio.timeout(60):
            await self.reached.wait()

    def release(self) -> None:
        self._released.set()


class Keyed:
    """A client that sends one request, with a key, again and again."""

    def __init__(self, client: SessionClient, key: str = '"a-key"') -> None:
        self.client, self.key = client, key

    async def call(self, tool: str, arguments: Any = None, *, id: Any = 7, **options: Any) -> Answer:
        headers = {"accept": BOTH, "idempotency-key": self.key, **options.pop("headers", {})}
        return await self.client.call(tool, arguments, id=id, headers=headers, **options)

    async def flights(self) -> int:
        return len(await self.client.endpoint.backend.sessions.in_flight(session_key(self.client.session_id)))

    async def is_kept(self) -> bool:
        """Tell whether the store has the end of a stream, and nothing is in flight."""
        streams = await self.client.endpoint.backend.streams.stream_records(session_key(self.client.session_id))
        return any(stream.ended for stream in streams) and not await self.flights()

    async def until_kept(self) -> None:
        async with asyncio.timeout(60):
            while not await self.is_kept():
                await settle()


def busy(endpoint: Endpoint) -> bool:
    """Tell whether a node does anything but run calls."""
    return any(
        node.tasks._tasks - node.tasks._permanent - {call._task for call in node.registry.running}
        for node in endpoint.pool.nodes
    )


async def frames(answer: Answer) -> list[Frame]:
    """Read a stream to its end."""
    found = []
    while (frame := await answer.frame()) is not None:
        found.append(frame)
    return found
