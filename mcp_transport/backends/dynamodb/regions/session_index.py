"""Lists the sessions of all regions, from the local replicas."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping

from mcp_transport.backends import listing
from mcp_transport.backends.contracts import SessionIndex
from mcp_transport.backends.dynamodb.regions.homes import Claim, newest
from mcp_transport.backends.dynamodb.session_index import DynamoSessionIndex
from mcp_transport.backends.records import Facets, Overview, Page
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery

__all__ = ["RegionsIndex"]

_Listed = tuple[str, Session]
"""A session, and the region in whose namespace it is."""

ReadClaims = Callable[[str], Awaitable[Mapping[str, Claim]]]


class RegionsIndex(SessionIndex):
    """Shows each session once, with its home; what a region has not replicated yet is missing."""

    def __init__(
        self, indexes: Mapping[str, DynamoSessionIndex], read_claims: ReadClaims, now: Callable[[], float]
    ) -> None:
        self._indexes, self._read_claims, self._now = indexes, read_claims, now

    async def page(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        return await self._page_of(*await self._live(), offset, limit, query, order)

    async def page_and_facets(self, offset: int, limit: int, query: SessionQuery, order: str) -> tuple[Page, Facets]:
        listed, is_complete = await self._live()
        page = await self._page_of(listed, is_complete, offset, limit, query, order)
        return page, listing.facets_of((session for _, session in listed), self._now())

    async def _page_of(
        self, listed: list[_Listed], is_complete: bool, offset: int, limit: int, query: SessionQuery, order: str
    ) -> Page:
        page = listing.page_of((session for _, session in listed), self._now(), offset, limit, query, order)
        regions = {session.key: region for region, session in listed}
        counted = [self._indexes[regions[session.key]].with_streams(session) for session in page.sessions]
        return Page(tuple(await asyncio.gather(*counted)), page.total, is_complete)

    async def overview(self) -> Overview:
        listed, _ = await self._live()
        return listing.summarize([session for _, session in listed], self._now())

    async def _live(self) -> tuple[list[_Listed], bool]:
        """Return the live sessions with their homes, and whether these are all."""
        parts = await asyncio.gather(*(index.live() for index in self._indexes.values()))
        copies = defaultdict[str, list[_Listed]](list)
        for region, (sessions, _) in zip(self._indexes, parts, strict=True):
            for session in sessions:
                copies[session.key].append((region, session))
        chosen = await asyncio.gather(*map(self._at_home, copies.values()))
        return list(chosen), all(is_complete for _, is_complete in parts)

    async def _at_home(self, copies: list[_Listed]) -> _Listed:
        """Return the copy of a session that is at its home."""
        if len(copies) == 1:
            return copies[0]
        claim = newest((await self._read_claims(copies[0][1].key)).values())
        home = claim.home.region if claim is not None else ""
        return max(copies, key=lambda copy: (copy[0] == home, copy[1].last_seen))
