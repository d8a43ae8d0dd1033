"""A backend whose calls are taken over."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.backends.results import Claimed, Entered
from mcp_transport.domain.session import InFlightRequest


class Losing(MemoryBackend):
    """Keeps the calls that it let in, and says that their node was lost."""

    shares_streams = True
    entered: tuple[InFlightRequest, ...] = ()

    async def enter(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest] = ()
    ) -> Entered | None:
        self.entered = tuple(requests) or self.entered
        return await super().enter(key, principal, node, requests)

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        session = await self.get(key)
        return Claimed(session, self.entered, next=1_000_000_001) if session is not None else None
