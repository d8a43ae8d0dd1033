"""A store of rate limits in the memory of a test, shared by its nodes: it can be away, or held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from mcp_transport.backends.rates import RateStore
from mcp_transport.domain.rate_limit import Charge
from mcp_transport.exceptions import BackendError


class MemoryRateStore(RateStore):
    """Counts by the clock `now`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.empty_at: dict[str, float] = {}
        self.batches: list[list[Charge]] = []
        self.is_away = False
        self.held: asyncio.Event | None = None

    def hold(self) -> asyncio.Event:
        """Have settlements wait until the event that is returned is set."""
        self.held = asyncio.Event()
        return self.held

    async def settle(self, charges: Sequence[Charge]) -> Sequence[float]:
        self.batches.append(list(charges))
        if self.held is not None:
            async with asyncio.timeout(60):
                await self.held.wait()
        if self.is_away:
            raise BackendError("the store is away")
        return [self.count(charge) for charge in charges]

    def count(self, charge: Charge) -> float:
        fill = max(0.0, self.empty_at.get(charge.bucket, 0.0) - self._now()) + charge.cost
        self.empty_at[charge.bucket] = self._now() + fill
        return fill
