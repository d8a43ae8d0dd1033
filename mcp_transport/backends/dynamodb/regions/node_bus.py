"""Messages between the nodes of several regions: about a session, in its home region."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mcp_transport.backends.contracts import Deliver, Measure, NodeBus
from mcp_transport.backends.dynamodb.regions.region import Region
from mcp_transport.backends.dynamodb.regions.router import Router
from mcp_transport.backends.records import NodeRecord
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, NodeMessage, ReplyArrived
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import log_failure

__all__ = ["RoutedNodeBus"]

# How long a broadcast waits for another region.
_BROADCAST_SECONDS: Final = 2.0


class RoutedNodeBus(NodeBus):
    """Joins other regions for the sessions that are at home there; operators see the nodes of their own region."""

    def __init__(self, router: Router) -> None:
        self._router, self._own, self._memberships = router, router.own, router.memberships

    @property
    def _bus(self) -> NodeBus:
        return self._own.backend.bus

    # -- nodes ---------------------------------------------------------------------------------------

    def expect_messages(self, node: str, expects: Callable[[], bool]) -> None:
        self._memberships.expect_messages(node, expects)

    async def start(self, node: str, deliver: Deliver, measure: Measure = ProcessMetrics) -> None:
        await self._memberships.start(node, deliver, measure)

    async def stop(self, node: str) -> None:
        await self._memberships.stop(node)

    async def announce_drain(self, node: str) -> None:
        await self._bus.announce_drain(node)
        for region in self._memberships.regions_of(node):
            with suppress(BackendError):
                await region.backend.bus.announce_drain(node)

    async def nodes(self) -> tuple[NodeRecord, ...]:
        return await self._bus.nodes()

    async def nodes_of(self, key: str) -> tuple[NodeRecord, ...]:
        return await self._router.run(key, lambda backend: backend.bus.nodes())

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        return await self._bus.metrics()

    def lease_may_be_lost(self, node: str) -> bool:
        return self._bus.lease_may_be_lost(node)

    def session_lease_may_be_lost(self, node: str, key: str) -> bool:
        return self._router.region_of(key).backend.bus.lease_may_be_lost(node)

    def failure(self, node: str) -> BaseException | None:
        return self._bus.failure(node)

    async def journal_at_once(self, node: str, key: str, stream: str) -> None:
        await self._router.run(key, lambda backend: backend.bus.journal_at_once(node, key, stream))

    # -- messages ------------------------------------------------------------------------------------

    async def send(self, node: str, message: NodeMessage) -> bool:
        if self._memberships.has(node):
            return await self._bus.send(node, message)
        if key := getattr(message, "key", ""):
            return await self._router.run(key, lambda backend: backend.bus.send(node, message))
        if await self._bus.send(node, message):
            return True
        # A reply does not say to which session it belongs.
        return isinstance(message, ReplyArrived) and await self._send_elsewhere(node, message)

    async def _send_elsewhere(self, node: str, message: NodeMessage) -> bool:
        """Send a message to a node of another region; return False if none has it. Raises: BackendError."""
        failure: BackendError | None = None
        for region in sorted(self._router.others.values(), key=Region.was_used_recently, reverse=True):
            try:
                if await region.backend.bus.send(node, message):
                    return True
            except BackendError as error:
                failure = error
        if failure is not None:
            raise failure
        return False

    async def broadcast(self, message: Broadcast) -> None:
        others = [self._broadcast_to(region, message) for region in self._router.others.values()]
        await asyncio.gather(self._bus.broadcast(message), *others)

    async def _broadcast_to(self, region: Region, message: Broadcast) -> None:
        """Broadcast in another region, as far as it answers."""
        if region.health.is_failing:
            return
        try:
            async with asyncio.timeout(_BROADCAST_SECONDS):
                await region.backend.bus.broadcast(message)
        except (TimeoutError, BackendError) as error:
            log_failure(f"a broadcast does not reach the region {region.name}", error)

    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        return await self._bus.broadcasts(after)

    async def last_broadcast(self) -> str:
        return await self._bus.last_broadcast()
