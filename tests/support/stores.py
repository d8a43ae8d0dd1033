"""Stores that misbehave on purpose, and a look at what an endpoint has left behind."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from mcp_transport.backends.contracts import NodeBus, SessionIndex, SessionStore, StreamLog
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import BackendError
from tests.support.clock import settle

_OPERATIONS = {
    name
    for contract in (SessionStore, StreamLog, NodeBus, SessionIndex)
    for name, member in vars(contract).items()
    if inspect.iscoroutinefunction(member)
}


class FlakyBackend(MemoryBackend):
    """A store that can go away and come back, or be held up."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.away: set[str] = set()
        """Operations that fail; "*" means all."""
        self.held: dict[str, asyncio.Event] = {}
        """Operations that wait, and for what."""
        self.calls: list[str] = []

    def hold(self, operation: str) -> None:
        """Have an operation wait from now on, and forget what was called before."""
        self.held[operation] = asyncio.Event()
        self.calls.clear()

    def __getattribute__(self, name: str) -> Any:
        member = super().__getattribute__(name)
        if name not in _OPERATIONS:
            return member

        async def operate(*args: Any, **options: Any) -> Any:
            self.calls.append(name)
            if self.away & {name, "*"}:
                raise BackendError("the store is away")
            if name in self.held:
                async with asyncio.timeout(60):
                    await self.held[name].wait()
            return await member(*args, **options)

        return operate


async def left_behind(endpoint: Endpoint) -> dict[str, Any]:
    """Return what an endpoint still has of requests that are over; an empty dict is a clean house."""
    await settle()
    node, backend = await endpoint.pool.node(), endpoint.backend
    index = backend.index if isinstance(backend.index, MemoryBackend) else None
    sessions = (await index.page()).sessions if index is not None else ()
    flights = [flight for session in sessions for flight in await backend.sessions.in_flight(session.key)]
    found = {
        "sessions": [session.key for session in sessions],
        "flights": flights,
        "calls": list(node.registry._calls),
        "streams": list(node.registry.streams),
        "replies": list(node.client_requests.pending),
        "listeners": list(endpoint.kernel.listen_handlers.here._streams),
        "tasks": node.tasks._tasks - node.tasks._permanent,
        "admitted": node.admission.calls.running + node.admission.calls.waiting + node.admission.threads.running,
    }
    return {name: value for name, value in found.items() if value}
