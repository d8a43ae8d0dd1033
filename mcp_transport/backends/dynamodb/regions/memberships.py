"""The nodes of this process as members of several regions: their own from the start, another one when needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from mcp_transport.backends.contracts import Deliver, Measure, NodeBus
from mcp_transport.backends.dynamodb.regions.region import Region
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.exceptions import BackendError

__all__ = ["Memberships"]

# A region that does not answer must not delay the end of a node: its lease there lapses.
_LEAVE_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Member:
    """A node of this process."""

    loop: asyncio.AbstractEventLoop
    deliver: Deliver
    measure: Measure
    joined: set[str] = field(default_factory=set)
    """The other regions that it is a member of."""
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)


class Memberships:
    """Joins and leaves; a node has the same name in each region."""

    def __init__(self, own: NodeBus, others: Iterable[Region]) -> None:
        self._own, self._others = own, {region.name: region for region in others}
        self._members: dict[str, _Member] = {}
        self._expects: dict[str, Callable[[], bool]] = {}

    def expect_messages(self, node: str, expects: Callable[[], bool]) -> None:
        """Learn how to tell whether other nodes may have messages for a node."""
        self._expects[node] = expects
        self._own.expect_messages(node, expects)

    async def start(self, node: str, deliver: Deliver, measure: Measure) -> None:
        """Join this process's region. Raises: BackendError."""
        await self._own.start(node, deliver, measure)
        self._members[node] = _Member(asyncio.get_running_loop(), deliver, measure)

    async def stop(self, node: str) -> None:
        """Leave all regions; ignore those that do not answer."""
        member = self._members.pop(node, None)
        self._expects.pop(node, None)
        await self._own.stop(node)
        if member is not None:
            await asyncio.gather(*(self._leave(node, self._others[name]) for name in member.joined))

    async def join(self, region: Region) -> None:
        """Make the nodes of the running loop members of another region. Raises: BackendError."""
        loop = asyncio.get_running_loop()
        for node, member in list(self._members.items()):
            if member.loop is loop and region.name not in member.joined:
                await self._join(node, member, region)

    async def _join(self, node: str, member: _Member, region: Region) -> None:
        async with member.joining:
            if region.name in member.joined or self._members.get(node) is not member:
                return
            # Without an answer to this, nothing has begun that would have to be undone.
            await region.backend.sessions.ping()
            expects = self._expects.get(node, lambda: True)
            bus = region.backend.bus
            bus.expect_messages(node, lambda: expects() and region.was_used_recently())
            await bus.start(node, _without_broadcasts(member.deliver), member.measure)
            if self._members.get(node) is member:
                member.joined.add(region.name)
            else:  # it has left its own region meanwhile
                await bus.stop(node)

    async def _leave(self, node: str, region: Region) -> None:
        with suppress(TimeoutError, BackendError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await region.backend.bus.stop(node)

    # -- the nodes of this process -------------------------------------------------------------------

    def has(self, node: str) -> bool:
        """Return whether a node is one of this process."""
        return node in self._members

    def regions_of(self, node: str) -> list[Region]:
        """Return the other regions that a node is a member of."""
        member = self._members.get(node)
        return [self._others[name] for name in member.joined] if member is not None else []

    async def deliver(self, message: NodeMessage) -> None:
        """Deliver a message to a node of the running loop, if there is one. Raises: BackendError."""
        loop = asyncio.get_running_loop()
        for node, member in list(self._members.items()):
            if member.loop is loop:
                await self._own.send(node, message)
                return


def _without_broadcasts(deliver: Deliver) -> Deliver:
    """Return what delivers the messages of another region: broadcasts come from the node's own."""

    def filtered(message: NodeMessage) -> None:
        if not isinstance(message, Broadcast):
            deliver(message)

    return filtered
