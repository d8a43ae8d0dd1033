"""Sends each operation of a session to the region that is its home."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Set
from functools import partial
from typing import Final, TypeVar

from mcp_transport.backends.base import Backend
from mcp_transport.backends.contracts import Report
from mcp_transport.backends.dynamodb.regions.homes import Claim, Home, Homes, newest
from mcp_transport.backends.dynamodb.regions.memberships import Memberships
from mcp_transport.backends.dynamodb.regions.region import Region
from mcp_transport.backends.dynamodb.regions.rehoming import Moved, Rehoming
from mcp_transport.backends.results import Closing
from mcp_transport.domain.node_messages import Orphaned, Rehomed
from mcp_transport.domain.session import Session
from mcp_transport.exceptions import BackendError, StoreUnreachable
from mcp_transport.supervision import log_failure, suppress_and_log

__all__ = ["Router"]

_T = TypeVar("_T")

# How often an operation follows a session that gets another home meanwhile.
_MAX_MOVES: Final = 4

ReadLeases = Callable[[str], Awaitable[Set[object]]]
"""Returns the leases of a region's nodes, as the local replica has them."""

GiveUp = Callable[[str, Home], Awaitable[Closing | None]]
"""Closes this region's copy of a session whose home is another region, unless the copy is newer."""


class Router:
    """Finds the home of a session, verifies it at intervals, and replaces a home that is lost."""

    def __init__(
        self,
        own: Region,
        others: Mapping[str, Region],
        homes: Homes,
        rehoming: Rehoming,
        memberships: Memberships,
        read_leases: ReadLeases,
        give_up: GiveUp,
    ) -> None:
        self.own, self.others, self.homes, self.memberships = own, others, homes, memberships
        self._rehoming, self._read_leases, self._give_up = rehoming, read_leases, give_up
        self._monotonic = own.observer.monotonic
        self._moving: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[Moved]] = {}
        self.report: Report = _ignore

    # -- operations ----------------------------------------------------------------------------------

    async def run(
        self, key: str, work: Callable[[Backend], Awaitable[_T]], *, confirms: bool = False, verifies: bool = False
    ) -> _T:
        """Run an operation at the home of its session; with `verifies`, all regions are asked before it runs here.

        With `confirms`, a result of None or False means that the home does not have the session: if it has moved
        since its home was read, the operation runs again at its new one. Raises: BackendError.
        """
        home = self.homes.current(key, self._monotonic()) or await self.verify(key)
        if verifies and home.region == self.own.name:
            home = await self.verify(key, consistent=True, all_regions=True)
        result = await self._run_at(key, home, work)
        if confirms and (result is None or result is False):
            moved = await self.verify(key, consistent=True)
            if moved != home:
                return await self._run_at(key, moved, work)
        return result

    async def _run_at(self, key: str, home: Home, work: Callable[[Backend], Awaitable[_T]]) -> _T:
        for _ in range(_MAX_MOVES):
            if home.region == self.own.name:
                return await work(self.own.backend)
            region = self.others.get(home.region)
            if region is None:
                raise BackendError(f"the home region {home.region} of a session is not among the REGIONS of DYNAMODB")
            if await self._answers(region):
                return await self._run_remotely(key, region, work)
            home = await self._next_home(key, home, region)
        raise BackendError("the session has had too many homes meanwhile")

    async def _run_remotely(self, key: str, region: Region, work: Callable[[Backend], Awaitable[_T]]) -> _T:
        region.use()
        try:
            await self.memberships.join(region)
            self.report("home_remote", key, {"region": region.name})
            return await work(region.backend)
        except StoreUnreachable:
            await self._observe_leases(region)
            self.report("home_unreachable", key, {"region": region.name})
            raise

    def region_of(self, key: str) -> Region:
        """Return the region that was the home of a session when this process verified it last, or its own."""
        home = self.homes.last(key)
        return self.others.get(home.region, self.own) if home is not None else self.own

    def opened(self, key: str) -> None:
        """Record that a session was opened in this region."""
        self.homes.remember(key, Home(0, self.own.name), self._monotonic())

    # -- homes ---------------------------------------------------------------------------------------

    async def verify(self, key: str, *, consistent: bool = False, all_regions: bool = False) -> Home:
        """Read the home of a session, and give way if it is no longer here; with `all_regions`, ask these, too.

        Raises: BackendError.
        """
        claims = [*(await self._rehoming.claims(key, consistent=consistent)).values()]
        if all_regions:
            answering = [name for name, region in self.others.items() if not region.health.is_failing]
            claims += await self._rehoming.claims_elsewhere(key, answering)
        last, claim = self.homes.last(key), newest(claims)
        if claim is None and last is None and self.homes.origin(key) is None:
            return await self._search(key)
        home = self._decide(key, claim, last)
        former = {self.homes.origin(key) or self.own.name, last.region if last is not None else ""}
        former |= {each.home.region for each in claims}
        # Each time, and if it is unknown where the session was opened: the process that knew it may have ended.
        if self.own.name in former and home.region != self.own.name:
            await self._give_way(key, home)
        return self.homes.remember(key, home, self._monotonic())

    def _decide(self, key: str, claim: Claim | None, last: Home | None) -> Home:
        """Return the newest home that is known: the read may be outdated."""
        opened = Home(0, self.homes.origin(key) or self.own.name)
        return max(claim.home if claim is not None else opened, last or opened)

    async def _search(self, key: str) -> Home:
        """Find a session that nobody has claimed, and whose id does not name a region. Raises: BackendError."""
        return Home(0, await self._rehoming.find(key))

    async def _give_way(self, key: str, home: Home) -> None:
        """End what this region has of a session whose home is another one. Raises: BackendError."""
        closing = await self._give_up(key, home)
        if closing is None:
            return
        self.report("rehoming_yielded", key, {"home": home.region, "epoch": home.epoch})
        for node in closing.nodes:
            try:
                await self.own.backend.bus.send(node, Rehomed(key))
            except BackendError as error:  # its next write is refused
                log_failure(f"node {node} cannot be told that a session has moved", error)

    async def verify_running(self) -> None:
        """Verify the homes of the sessions with calls on this process, if it is time to."""
        regions, now = (self.own, *self.others.values()), self._monotonic()
        keys = {key for region in regions for key, _ in list(region.running)}
        for key in keys:
            if self.homes.current(key, now) is None:
                with suppress_and_log("the home of a session cannot be verified"):
                    await self.verify(key)

    # -- a region that is away -----------------------------------------------------------------------

    async def _answers(self, region: Region) -> bool:
        """Return whether to use a region; one that has failed is probed, by one request at a time."""
        if not region.health.is_failing:
            return True
        if not region.health.begin_probe(self._monotonic()):
            return False
        try:
            await region.backend.sessions.ping()
        except StoreUnreachable:
            await self._observe_leases(region)
            return False
        finally:
            region.health.end_probe(self._monotonic())
        return True

    async def _observe_leases(self, region: Region) -> None:
        try:
            leases = await self._read_leases(region.name)
        except BackendError as error:
            log_failure(f"the leases of the region {region.name} cannot be read from the replica", error)
        else:
            region.health.observe_leases(leases, self._monotonic())

    async def _next_home(self, key: str, home: Home, region: Region) -> Home:
        """Return the home that follows one that does not answer. Raises: StoreUnreachable, BackendError."""
        newer = await self.verify(key)
        if newer != home:
            return newer
        if not region.health.is_lost:
            self.report("home_unreachable", key, {"region": region.name})
            raise StoreUnreachable(f"the region {region.name}, in which the session is at home, does not answer")
        return await self._rehome(key, home)

    async def _rehome(self, key: str, lost: Home) -> Home:
        """Make this region the home; requests of the same session share one attempt, which none of them cancels."""
        place = asyncio.get_running_loop(), key
        if (task := self._moving.get(place)) is None:
            task = self._moving[place] = place[0].create_task(self._move(key, lost))
            task.add_done_callback(partial(self._end_move, place))
        return (await asyncio.shield(task)).home

    def _end_move(self, place: tuple[asyncio.AbstractEventLoop, str], task: asyncio.Task[Moved]) -> None:
        self._moving.pop(place, None)
        if not task.cancelled():
            task.exception()  # those that still wait raise it

    async def _move(self, key: str, lost: Home) -> Moved:
        moved = await self._rehoming.rehome(key, lost)
        self.homes.remember(key, moved.home, self._monotonic())
        if moved.is_ours:
            details = {"region": lost.region, "epoch": moved.home.epoch, "calls": len(moved.orphans)}
            self.report("rehomed", key, details)
            for (_, stream), writer in moved.orphans:
                await self.memberships.deliver(Orphaned(key, stream, writer))
        return moved

    async def restore(self, session: Session) -> bool:
        """Rebuild a session that its new home could not copy. Raises: BackendError."""
        home = self.homes.last(session.key)
        if home is None or home.region != self.own.name or home.epoch == 0:
            return False
        return await self._rehoming.restore(session, home)


def _ignore(event: str, key: str, details: Mapping[str, object]) -> None:
    """Report nothing."""
