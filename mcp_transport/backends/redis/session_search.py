"""Pages of the sessions that an operator asks for, by the index, and all of them summed up from a sample."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import NoPermissionError

from mcp_transport.backends.base import Overview, Page
from mcp_transport.backends.listing import NEW_SESSION_SECONDS, summarize
from mcp_transport.backends.redis import codec
from mcp_transport.backends.redis.codec import milliseconds
from mcp_transport.backends.redis.index_sets import Facet, FixedFacet, SetFacet, SortedSetFacet
from mcp_transport.backends.redis.session_index import RedisSessionIndex
from mcp_transport.domain.session import InFlightRequest, Session, short_id
from mcp_transport.domain.session_query import ACTIVE_SECONDS, EVERYTHING, SessionQuery, State
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import attempt, contained, log_failure

__all__ = ["RedisSessionSearch"]

# Up to so many sessions that share a value are looked at together; of more, the first in order are looked through.
_FEW: Final = 5000
# How many records are read at a time, at least.
_PORTION: Final = 100
# How many sessions are looked through at a time, and in one search.
_STRIDE: Final = 2000
_MOST_LOOKED_AT: Final = 100_000
# From so many sessions, taken by chance, is told what all of them are like.
_SAMPLE: Final = 500

_BROKEN_INDEX: Final = "an index of sessions cannot be read"


class RedisSessionSearch(RedisSessionIndex):
    """Finds sessions, in an order."""

    async def sessions(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        await self._write_use()
        try:
            if not query:
                return await self._of_all(offset, limit, order)
            return await self._of_some(offset, limit, query, order)
        except Unreadable as error:
            log_failure(_BROKEN_INDEX, error)
            return Page((), 0, is_exact=False)

    async def _of_some(self, offset: int, limit: int, query: SessionQuery, order: str) -> Page:
        """Return a page of the sessions that a query means."""
        _, now = await self._born()
        facets = await self._facets(query, now)
        search = _Search(query, order, now / 1000)
        if query.word:
            first = f"[{query.word}".encode()
            last = first + b"\xff"  # which is in no UTF-8
            words = await self._pipeline().execute("ZRANGEBYLEX", self._keys.words, first, last, "LIMIT", 0, _FEW)
            candidates = list(dict.fromkeys(word.rpartition(b"\0")[2] for word in words))
            return await self._of_few(candidates, facets, search, offset, limit, is_all=len(words) < _FEW)
        sizes = await asyncio.gather(*(facet.size(self._pipeline()) for facet in facets))
        size, smallest = min(zip(sizes, facets, strict=True), key=lambda item: item[0])
        if size <= _FEW:
            candidates = await smallest.members(self._pipeline())
            others = [facet for facet in facets if facet is not smallest]
            return await self._of_few(candidates, others, search, offset, limit, is_all=True)
        return await self._of_many(facets, size, search, offset, limit)

    async def overview(self) -> Overview:
        await self._write_use()
        pipeline, keys, scripts = self._pipeline(), self._keys, self._scripts
        page = pipeline.run(scripts["page"], [keys.sessions], [self._ttl, 0, 0, 1])
        lately = pipeline.run(scripts["created"], [keys.ordered("created")], [milliseconds(NEW_SESSION_SECONDS)])
        (_, total), opened, sample = await asyncio.gather(
            attempt(_BROKEN_INDEX, page, ([], 0)),
            attempt(_BROKEN_INDEX, lately, 0),
            attempt(_BROKEN_INDEX, pipeline.execute("ZRANDMEMBER", keys.sessions, _SAMPLE), []),
        )
        known, _ = await self._records(sample)
        found = summarize(known, 0.0)
        memory, limit = await self._memory()
        share = total / found.total if found.total and total > _SAMPLE else 1.0
        return replace(
            found,
            total=total,
            opened=opened,
            values={
                name: tuple((value, round(count * share)) for value, count in counted)
                for name, counted in found.values.items()
            },
            memory=memory,
            memory_limit=limit,
        )

    # -- what is asked for ---------------------------------------------------------------------------

    async def _facets(self, query: SessionQuery, now: int) -> list[Facet]:
        """Return what the index knows of what must be so."""
        keys = self._keys
        facets: list[Facet] = [
            SortedSetFacet(keys.facet(name, value)) if name == "node" else SetFacet(keys.facet(name, value))
            for name, value in query.values.items()
        ]
        if query.created_after or query.created_before:
            low, high = (milliseconds(moment) or None for moment in (query.created_after, query.created_before))
            facets.append(SortedSetFacet(keys.ordered("created"), low, high))
        used_lately = now - milliseconds(ACTIVE_SECONDS)
        match query.state:
            case State.BUSY:
                facets.append(FixedFacet(await self._busy()))
            case State.OPENING:
                facets.append(SetFacet(keys.facet("state", State.OPENING)))
            case State.ACTIVE:
                facets.append(SortedSetFacet(keys.sessions, used_lately + 1))
            case State.IDLE:
                facets.append(SortedSetFacet(keys.sessions, None, used_lately))
            case "":
                pass
            case _:
                facets.append(FixedFacet(frozenset()))
        return facets

    async def _busy(self) -> frozenset[bytes]:
        """Return the sessions that have calls in flight, as nodes told with their last beats."""
        asked = [self._pipeline().execute("HKEYS", self._keys.own(node)) for node in await self._node_names()]
        what = "the streams of a node cannot be read"
        owned: list[list[bytes]] = await asyncio.gather(*(attempt(what, answer, []) for answer in asked))
        here = {key.encode() for member in self._members.values() for key, _ in member.streams}
        return frozenset({item.partition(b" ")[0] for items in owned for item in items} | here)

    # -- finding it ----------------------------------------------------------------------------------

    async def _of_all(self, offset: int, limit: int, order: str) -> Page:
        """Return a page of all sessions."""
        while True:
            keys, total = await self._slice(order, offset, limit)
            found, gone = await self._records(keys)
            if not gone:
                return Page(tuple(found), total)
            await self._forget(gone)

    async def _slice(self, order: str, offset: int, limit: int) -> tuple[list[bytes], int]:
        """Return a part of all sessions in order, and how many there are."""
        by, is_reversed = order.removeprefix("-"), order.startswith("-")
        by_use = by == "last_seen"
        arguments = [self._ttl, offset if by_use else 0, limit if by_use else 0, int(is_reversed)]
        page = self._pipeline().run(self._scripts["page"], [self._keys.sessions], arguments)
        if by_use:
            keys, total = await page
            return keys, total
        command = ("ZRANGE", self._keys.ordered(by), offset, offset + limit - 1, *(["REV"] if is_reversed else []))
        keys, (_, total) = await asyncio.gather(self._pipeline().execute(*command), page)
        return keys, total

    async def _of_few(
        self,
        candidates: list[bytes],
        facets: Sequence[Facet],
        search: _Search,
        offset: int,
        limit: int,
        *,
        is_all: bool,
    ) -> Page:
        """Return a page of some sessions, of which each one is looked at."""
        candidates = await self._in_all(candidates, facets)
        if not candidates:
            return Page((), 0, is_all)
        ordered = await self._in_order(candidates, search.order)
        found, looked_at = await self._take(ordered, search, offset + limit)
        total = len(ordered) - looked_at + len(found)
        return Page(tuple(found[offset : offset + limit]), total, is_all and looked_at == len(ordered))

    async def _in_order(self, keys: Sequence[bytes], order: str) -> list[bytes]:
        """Return those that cannot have expired, in order."""
        by = order.removeprefix("-")
        seen = await self._pipeline().run(self._scripts["seen"], [self._keys.sessions], [self._ttl, *keys])
        scores = seen
        if by != "last_seen":
            scores = await self._pipeline().execute("ZMSCORE", self._keys.ordered(by), *keys)
        living = [
            (float(score or 0), float(last), key) for score, last, key in zip(scores, seen, keys, strict=True) if last
        ]
        return [key for _, _, key in sorted(living, reverse=order.startswith("-"))]

    async def _of_many(self, facets: Sequence[Facet], size: int, search: _Search, offset: int, limit: int) -> Page:
        """Return a page of the first sessions that fit, without looking at all of them."""
        found, at = list[Session](), 0
        while len(found) < offset + limit and at < _MOST_LOOKED_AT:
            keys = await self._stretch(facets, search.order, at)
            if not keys:
                break
            at += len(keys)
            fitting, _ = await self._take(await self._in_all(keys, facets), search, offset + limit - len(found))
            found += fitting
        return Page(tuple(found[offset : offset + limit]), max(size, len(found)), is_exact=False)

    async def _stretch(self, facets: Sequence[Facet], order: str, at: int) -> list[bytes]:
        """Return sessions in order: of a facet that has this order, or of all."""
        name, is_reversed = self._keys.ordered(order.removeprefix("-")), order.startswith("-")
        for facet in facets:
            if isinstance(facet, SortedSetFacet) and facet.orders(name):
                return await facet.part(self._pipeline(), at, _STRIDE, is_reversed=is_reversed)
        keys, _ = await self._slice(order, at, _STRIDE)
        return keys

    async def _in_all(self, keys: list[bytes], facets: Iterable[Facet]) -> list[bytes]:
        """Return the keys that each facet has."""
        if not keys or not facets:
            return keys
        known = await asyncio.gather(*(facet.has(self._pipeline(), keys) for facet in facets))
        return [key for key, *among in zip(keys, *known, strict=True) if all(among)]

    async def _take(self, keys: Sequence[bytes], search: _Search, wanted: int) -> tuple[list[Session], int]:
        """Return the first sessions that fit, at least `wanted` if there are so many, and how many were looked at."""
        found, at = list[Session](), 0
        while at < len(keys) and len(found) < wanted:
            part = keys[at : at + max(_PORTION, wanted - len(found))]
            at += len(part)
            found += await self._fitting(part, search)
        return found, at

    async def _fitting(self, keys: Sequence[bytes], search: _Search) -> list[Session]:
        """Return those sessions that are what the index says of them."""
        records, _ = await self._records(keys)
        fitting = [item for item in records if search.query.matches(item, search.now)]
        if search.query.state == State.OPENING:
            for item in records:
                if item.initialized:  # which the index had missed
                    self._pipeline().post("SREM", self._opening, item.key)
        return fitting

    async def _records(self, keys: Sequence[bytes]) -> tuple[list[Session], list[bytes]]:
        """Return sessions, and which of the keys are over; what cannot be read is neither."""
        names, found, gone = codec.decode_names(keys), list[Session](), list[bytes]()
        asked = (self._run("glance", name, ("flights", "streams"), []) for name in names)
        for name, answer in zip(names, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            with contained(f"session {short_id(name)} cannot be read, and is not listed"):
                if answer is None:
                    gone.append(name.encode())
                else:
                    found.append(_session(name, answer))
        return found, gone

    async def _look(self, key: str) -> tuple[Session | None, tuple[InFlightRequest, ...]]:
        try:
            found = await self._run("get", key, ("flights",), [])
            if found is None:
                return None, ()
            flights = tuple(codec.decode_flight(*item) for item in codec.pairs(found[1]))
            return codec.decode_session(key, found[0]), flights
        except Unreadable as error:
            self._log_unreadable(key, error)
            return None, ()

    async def _memory(self) -> tuple[int, int]:
        """Return how many bytes Redis holds, and may hold; zeros where it does not say."""
        try:
            told = await self._pipeline().execute("INFO", "memory")
        except BackendError as error:
            is_a_service = isinstance(error, Unreadable)  # which has no INFO
            if not is_a_service and not isinstance(error.__cause__, NoPermissionError):
                raise
            return 0, 0
        servers = [told] if "used_memory" in told else list(told.values())  # those of a Cluster
        used, limits = ([facts.get(name, 0) for facts in servers] for name in ("used_memory", "maxmemory"))
        return sum(used), sum(limits) if all(limits) else 0


class _Search:
    """What is asked for, in which order, and when."""

    def __init__(self, query: SessionQuery, order: str, now: float) -> None:
        self.query, self.order, self.now = query, order, now


def _session(key: str, found: Any) -> Session:
    if isinstance(found, BaseException):
        raise found
    record, calls, streams = found
    return replace(codec.decode_session(key, record), calls=calls, streams=streams)
