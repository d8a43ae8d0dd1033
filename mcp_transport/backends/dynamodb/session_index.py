"""Lists sessions for operators: by a sparse index of all sessions, and by reading their records."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from mcp_transport.backends import listing
from mcp_transport.backends.codec import each
from mcp_transport.backends.contracts import SessionIndex
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import LISTING_INDEX, Address, Item
from mcp_transport.backends.dynamodb.session_record import SHARDS, SessionRecord, record_kind, session_pk, shard_name
from mcp_transport.backends.dynamodb.stream_state import STREAM_PREFIX, stream_kind
from mcp_transport.backends.records import Facets, Overview, Page
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery

__all__ = ["MAX_LISTED", "DynamoSessionIndex"]

MAX_LISTED: Final = 10_000
"""The most sessions that a listing reads, the newest of each part of the index; its total is an estimate beyond."""


class DynamoSessionIndex(SessionIndex):
    """Reads the records of all sessions: a listing costs as much as it has sessions."""

    def __init__(self, client: DynamoClient, policy: Policy) -> None:
        self._client, self._policy = client, policy

    async def page(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        return await self._page_of(*await self.live(), offset, limit, query, order)

    async def page_and_facets(self, offset: int, limit: int, query: SessionQuery, order: str) -> tuple[Page, Facets]:
        live, is_complete = await self.live()
        page = await self._page_of(live, is_complete, offset, limit, query, order)
        return page, listing.facets_of(live, self._client.now())

    async def overview(self) -> Overview:
        live, _ = await self.live()
        return listing.summarize(live, self._client.now())

    async def _page_of(
        self, live: list[Session], is_complete: bool, offset: int, limit: int, query: SessionQuery, order: str
    ) -> Page:
        page = listing.page_of(live, self._client.now(), offset, limit, query, order)
        sessions = await asyncio.gather(*map(self.with_streams, page.sessions))
        return Page(tuple(sessions), page.total, is_complete)

    async def live(self) -> tuple[list[Session], bool]:
        """Return the live sessions, and whether these are all."""
        limit = MAX_LISTED // SHARDS
        queries = [
            self._client.query_index(LISTING_INDEX, "shard", shard_name(shard), limit=limit)
            for shard in range(SHARDS)
        ]
        listed = await asyncio.gather(*queries)
        addresses = [Address(item["pk"], item["sk"]) for items in listed for item in items]
        items = await self._client.get_each(addresses)
        now, ttl = self._client.now(), self._policy.session_ttl
        records = each("a session", items.values(), self._decode)
        live = [_session(record) for record in records if record.is_open(now, ttl)]
        return live, all(len(items) < limit for items in listed)

    def _decode(self, item: Item) -> SessionRecord:
        key = item["pk"].removeprefix(session_pk(""))
        return record_kind(key, self._policy.session_ttl).decode(item)

    async def with_streams(self, session: Session) -> Session:
        """Fill in the number of open streams."""
        items = await self._client.query(session_pk(session.key), STREAM_PREFIX, f"{STREAM_PREFIX}~")
        states = each("a session's stream", items, stream_kind.decode)
        return replace(session, streams=sum(bool(state.holder) and state.stored_until is None for state in states))


def _session(record: SessionRecord) -> Session:
    return replace(record.session, calls=len(record.in_flight))
