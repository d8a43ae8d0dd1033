"""Search sessions by the index for operators, and summarize all sessions from a sample."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import NoPermissionError

from mcp_transport.backends.codec import milliseconds
from mcp_transport.backends.contracts import SessionIndex
from mcp_transport.backends.listing import NEW_SESSION_SECONDS, summarize
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.backends.records import Facets, Overview, Page
from mcp_transport.backends.redis import codec
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.index_sets import Facet, FixedFacet, SetFacet, SortedSetFacet
from mcp_transport.backends.redis.session_facets import TextFacet, count_facets, value_facet
from mcp_transport.backends.redis.session_index import SessionIndexWriter
from mcp_transport.domain.session import Session, short_id
from mcp_transport.domain.session_query import ACTIVE_SECONDS, EVERYTHING, SessionQuery, State
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import attempt, log_failure, suppress_and_log

__all__ = ["RedisSessionIndex"]

# Up to this many candidates are read and sorted at once; if there are more, all sessions are scanned in order.
_MAX_SORTED: Final = 5000
# How many records are read at a time, at least.
_RECORD_BATCH: Final = 100
# How many sessions are scanned at a time, and in one search.
_SCAN_BATCH: Final = 2000
_MAX_SCANNED: Final = 100_000
# The overview is computed from so many random sessions.
_SAMPLE_SIZE: Final = 500

_BROKEN_INDEX: Final = "an index of sessions cannot be read"


class RedisSessionIndex(SessionIndex):
    """Lists and searches sessions."""

    def __init__(self, client: RedisClient, writer: SessionIndexWriter, running: RunningStreams) -> None:
        self._client, self._keys, self._writer, self._running = client, client.keys, writer, running

    async def page(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        await self._writer.write_last_use()
        try:
            if not query:
                return await self._page_of_all(offset, limit, order)
            return await self._page_of_matches(offset, limit, query, order)
        except Unreadable as error:
            log_failure(_BROKEN_INDEX, error)
            return Page((), 0, is_exact=False)

    async def _page_of_matches(self, offset: int, limit: int, query: SessionQuery, order: str) -> Page:
        """Return a page of the sessions that match a query."""
        _, now = await self._client.store_times()
        facets = await self._facets(query, now)
        search = _Search(query, order, now / 1000)
        sizes = await asyncio.gather(*(facet.size(self._client) for facet in facets))
        size, smallest = min(zip(sizes, facets, strict=True), key=lambda item: item[0])
        if size <= _MAX_SORTED:
            candidates = await smallest.members(self._client)
            others = [facet for facet in facets if facet is not smallest]
            return await self._sorted_page(candidates, others, search, offset, limit)
        return await self._scan(facets, size, search, offset, limit)

    async def page_and_facets(self, offset: int, limit: int, query: SessionQuery, order: str) -> tuple[Page, Facets]:
        page = await self.page(offset, limit, query, order)
        _, now = await self._client.store_times()
        counted = count_facets(self._client, await self._busy(), now)
        return page, await attempt(_BROKEN_INDEX, counted, {})

    async def overview(self) -> Overview:
        await self._writer.write_last_use()
        client, keys = self._client, self._keys
        page = client.run("page", [keys.sessions], [client.ttl, 0, 0, 1])
        new = client.run("count_since", [keys.ordered("created")], [milliseconds(NEW_SESSION_SECONDS)])
        (_, total), opened, sample = await asyncio.gather(
            attempt(_BROKEN_INDEX, page, ([], 0)),
            attempt(_BROKEN_INDEX, new, 0),
            attempt(_BROKEN_INDEX, client.execute("ZRANDMEMBER", keys.sessions, _SAMPLE_SIZE), []),
        )
        sampled, _ = await self._records(sample)
        summary = summarize(sampled, 0.0)
        memory, limit = await self._memory()
        factor = total / summary.total if summary.total and total > _SAMPLE_SIZE else 1.0
        return replace(
            summary,
            total=total,
            opened=opened,
            values={
                name: tuple((value, round(count * factor)) for value, count in counts)
                for name, counts in summary.values.items()
            },
            memory=memory,
            memory_limit=limit,
        )

    # -- the query -----------------------------------------------------------------------------------

    async def _facets(self, query: SessionQuery, now: int) -> list[Facet]:
        """Return the sets of the index for the conditions of a query; `now` is in milliseconds."""
        keys = self._keys
        facets: list[Facet] = [value_facet(self._client, name, value) for name, value in query.values.items()]
        if query.keys is not None:
            facets.append(FixedFacet(frozenset(key.encode() for key in query.keys)))
        if query.created_after or query.created_before:
            low, high = (milliseconds(moment) or None for moment in (query.created_after, query.created_before))
            facets.append(SortedSetFacet(keys.ordered("created"), low, high))
        active_since = now - milliseconds(ACTIVE_SECONDS)
        match query.state:
            case State.BUSY:
                facets.append(FixedFacet(await self._busy()))
            case State.OPENING:
                facets.append(SetFacet(keys.facet("state", State.OPENING)))
            case State.ACTIVE:
                facets.append(SortedSetFacet(keys.sessions, active_since + 1))
            case State.IDLE:
                facets.append(SortedSetFacet(keys.sessions, None, active_since))
            case "":
                pass
            case _:
                facets.append(FixedFacet(frozenset()))
        if query.term:
            facets.append(await TextFacet.of(self._client, query, _MAX_SORTED))
        return facets

    async def _busy(self) -> frozenset[bytes]:
        """Return the sessions with calls in flight, by the journals of all nodes and the streams that run here."""
        replies = [
            self._client.execute("HKEYS", self._keys.journal(node)) for node in await self._client.node_names()
        ]
        what = "the streams of a node cannot be read"
        journals: list[list[bytes]] = await asyncio.gather(*(attempt(what, reply, []) for reply in replies))
        local = {key.encode() for key, _ in list(self._running)}
        return frozenset({item.partition(b" ")[0] for journal in journals for item in journal} | local)

    # -- the search ----------------------------------------------------------------------------------

    async def _page_of_all(self, offset: int, limit: int, order: str) -> Page:
        """Return a page of all sessions."""
        while True:
            keys, total = await self._slice(order, offset, limit)
            sessions, ended = await self._records(keys)
            if not ended:
                return Page(tuple(sessions), total)
            await self._writer.remove(ended)

    async def _slice(self, order: str, offset: int, limit: int) -> tuple[list[bytes], int]:
        """Return a part of all sessions in order, and the number of all sessions."""
        by, is_reversed = order.removeprefix("-"), order.startswith("-")
        by_last_use = by == "last_seen"
        arguments = [self._client.ttl, offset if by_last_use else 0, limit if by_last_use else 0, int(is_reversed)]
        page = self._client.run("page", [self._keys.sessions], arguments)
        if by_last_use:
            keys, total = await page
            return keys, total
        command = ("ZRANGE", self._keys.ordered(by), offset, offset + limit - 1, *(["REV"] if is_reversed else []))
        keys, (_, total) = await asyncio.gather(self._client.execute(*command), page)
        return keys, total

    async def _sorted_page(
        self,
        candidates: list[bytes],
        facets: Sequence[Facet],
        search: _Search,
        offset: int,
        limit: int,
    ) -> Page:
        """Return a page of the candidates that match."""
        candidates = await self._in_all_facets(candidates, facets)
        if not candidates:
            return Page((), 0)
        ordered = await self._in_order(candidates, search.order)
        matches, scanned = await self._first_matches(ordered, search, offset + limit)
        total = len(ordered) - scanned + len(matches)
        return Page(tuple(matches[offset : offset + limit]), total, scanned == len(ordered))

    async def _in_order(self, keys: Sequence[bytes], order: str) -> list[bytes]:
        """Return the keys of sessions that cannot have expired, in order."""
        by = order.removeprefix("-")
        times = await self._client.run("last_seen", [self._keys.sessions], [self._client.ttl, *keys])
        scores = times
        if by != "last_seen":
            scores = await self._client.execute("ZMSCORE", self._keys.ordered(by), *keys)
        live = [(float(score or 0), float(at), key) for score, at, key in zip(scores, times, keys, strict=True) if at]
        return [key for _, _, key in sorted(live, reverse=order.startswith("-"))]

    async def _scan(self, facets: Sequence[Facet], size: int, search: _Search, offset: int, limit: int) -> Page:
        """Return a page of the first matches in order, without reading all sessions."""
        matches, at = list[Session](), 0
        while (missing := offset + limit - len(matches)) > 0 and at < _MAX_SCANNED:
            keys = await self._scan_batch(facets, search.order, at)
            if not keys:
                break
            at += len(keys)
            more, _ = await self._first_matches(await self._in_all_facets(keys, facets), search, missing)
            matches += more
        return Page(tuple(matches[offset : offset + limit]), max(size, len(matches)), is_exact=False)

    async def _scan_batch(self, facets: Sequence[Facet], order: str, at: int) -> list[bytes]:
        """Return the next sessions in order: from a facet that has this order, or from all sessions."""
        name, is_reversed = self._keys.ordered(order.removeprefix("-")), order.startswith("-")
        for facet in facets:
            if isinstance(facet, SortedSetFacet) and facet.is_part_of(name):
                return await facet.part(self._client, at, _SCAN_BATCH, is_reversed=is_reversed)
        keys, _ = await self._slice(order, at, _SCAN_BATCH)
        return keys

    async def _in_all_facets(self, keys: list[bytes], facets: Sequence[Facet]) -> list[bytes]:
        """Return the keys that are in every facet; texts, which take longest, are compared last."""
        texts = [facet for facet in facets if isinstance(facet, TextFacet)]
        for part in ([facet for facet in facets if facet not in texts], texts):
            if keys and part:
                columns = await asyncio.gather(*(facet.has(self._client, keys) for facet in part))
                keys = [key for key, *is_member in zip(keys, *columns, strict=True) if all(is_member)]
        return keys

    async def _first_matches(self, keys: Sequence[bytes], search: _Search, limit: int) -> tuple[list[Session], int]:
        """Return the first matches, at least `limit` if there are so many, and how many keys were scanned."""
        matches, at = list[Session](), 0
        while at < len(keys) and len(matches) < limit:
            batch = keys[at : at + max(_RECORD_BATCH, limit - len(matches))]
            at += len(batch)
            matches += await self._matching(batch, search)
        return matches, at

    async def _matching(self, keys: Sequence[bytes], search: _Search) -> list[Session]:
        """Return the sessions whose records match, since the index may be outdated."""
        records, _ = await self._records(keys)
        matches = [item for item in records if search.query.matches(item, search.now)]
        if search.query.state == State.OPENING:
            for item in records:
                if item.initialized:  # the index is outdated
                    self._writer.remove_opening(item.key)
        return matches

    async def _records(self, keys: Sequence[bytes]) -> tuple[list[Session], list[bytes]]:
        """Return the live sessions, and the keys of those that have ended; log and skip unreadable ones."""
        names, sessions, ended = codec.decode_names(keys), list[Session](), list[bytes]()
        replies = (self._client.run_in_session("summary", name, ("requests", "streams")) for name in names)
        for name, reply in zip(names, await asyncio.gather(*replies, return_exceptions=True), strict=True):
            with suppress_and_log(f"session {short_id(name)} cannot be read, and is not listed"):
                if reply is None:
                    ended.append(name.encode())
                else:
                    sessions.append(_session(name, reply))
        return sessions, ended

    async def _memory(self) -> tuple[int, int]:
        """Return how many bytes Redis uses, and may use; zeros if it does not report them."""
        try:
            info = await self._client.execute("INFO", "memory")
        except BackendError as error:
            is_a_service = isinstance(error, Unreadable)  # a hosted Redis without INFO
            if not is_a_service and not isinstance(error.__cause__, NoPermissionError):
                raise
            return 0, 0
        servers = [info] if "used_memory" in info else list(info.values())  # those of a Cluster
        used, limits = ([server.get(name, 0) for server in servers] for name in ("used_memory", "maxmemory"))
        return sum(used), sum(limits) if all(limits) else 0


class _Search:
    """A query, an order, and the time in seconds since the epoch."""

    def __init__(self, query: SessionQuery, order: str, now: float) -> None:
        self.query, self.order, self.now = query, order, now


def _session(key: str, reply: Any) -> Session:
    if isinstance(reply, BaseException):
        raise reply
    record, calls, streams = reply
    return replace(codec.decode_session(key, record), calls=calls, streams=streams)
