"""The index of sessions: pages of those that an operator asks for, without looking at each.

What a session is found by is written with a node's beat, so it is a few seconds behind the session itself, and on no
request's way. Every key has an end, and records have the last word.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from mcp_transport.backends.base import Page
from mcp_transport.backends.redis import codec
from mcp_transport.backends.redis.codec import milliseconds
from mcp_transport.backends.redis.store import RedisStore
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.search import EVERYTHING, SessionQuery, client_of, words_of
from mcp_transport.protocol.session import Flight, Session

__all__ = ["RedisIndex"]

# Up to so many sessions that share a value are looked at together; of more, the newest are looked through.
_FEW: Final = 5000
# How many sessions are looked through at a time, and in one search.
_STRIDE: Final = 500
_MOST_LOOKED_AT: Final = 20_000
# How many sessions are written at a time.
_PART: Final = 250
# How many expired sessions a beat forgets.
_SWEEP: Final = 500


@dataclass(frozen=True, slots=True)
class _Facet:
    """The sessions of which something is so: a set or, ordered by time, those that a node has served."""

    key: str
    is_ordered: bool

    @property
    def size(self) -> tuple[Any, ...]:
        return ("ZCARD" if self.is_ordered else "SCARD", self.key)

    @property
    def members(self) -> tuple[Any, ...]:
        return ("ZRANGE", self.key, 0, -1) if self.is_ordered else ("SMEMBERS", self.key)

    def asked_for(self, keys: Sequence[bytes]) -> tuple[Any, ...]:
        return ("ZMSCORE" if self.is_ordered else "SMISMEMBER", self.key, *keys)


class RedisIndex(RedisStore):
    """Writes what sessions are found by, and finds them."""

    # -- writing -------------------------------------------------------------------------------------

    async def _write_index(self) -> None:
        """Write what is new, forget what has expired; a node long idle does neither. Raises: BackendError."""
        if self._opened or self._served:
            # Until the last of these sessions must have expired, and been forgotten.
            self._sweeps_until = time.monotonic() + self._policy.session_ttl + 5 * self._policy.lease
        elif time.monotonic() >= self._sweeps_until:
            return
        # Part by part: neither this process nor Redis stands still for long.
        while opened := [self._opened.pop(key) for key in list(self._opened)[:_PART]]:
            try:
                await self._add(opened)
            except BackendError:
                self._opened = {session.key: session for session in opened} | self._opened
                raise
        served, self._served = self._served, {}
        for node, keys in served.items():
            for part in _parts(list(keys)):
                await self._note_served(node, part)
        await self._sweep_expired()

    async def _add(self, sessions: Sequence[Session]) -> None:
        members: dict[str, list[str]] = {}
        words, facts = list[Any](), list[Any]()
        for session in sessions:
            values, found_by = _values(session), list(words_of(session))
            for name, value in values.items():
                members.setdefault(self._keys.facet(name, value), []).append(session.key)
            words += [item for word in found_by for item in (0, f"{word}\0{session.key}")]
            facts += [session.key, orjson.dumps([values, found_by])]
        commands = [("SADD", key, *keys) for key, keys in members.items()]
        commands += [("ZADD", self._keys.words, *words), ("HSET", self._keys.facts, *facts)]
        await self._write(commands)
        # Another node may have closed one before this was written, and will not look again.
        listed = await self._pipeline().execute("ZMSCORE", self._keys.sessions, *(item.key for item in sessions))
        if gone := [item.key.encode() for item, seen in zip(sessions, listed, strict=True) if seen is None]:
            await self._forget(gone)

    async def _note_served(self, node: str, keys: Sequence[str]) -> None:
        arguments = [self._ttl + milliseconds(self._policy.lease), *keys]
        await self._pipeline().run(self._scripts["served"], [self._keys.facet("node", node)], arguments)

    async def _write(self, commands: Iterable[tuple[Any, ...]]) -> None:
        execute, keep = self._pipeline().execute, self._kept
        written = [(execute(*command), execute("PEXPIRE", command[1], keep)) for command in commands]
        await asyncio.gather(*(answer for answers in written for answer in answers))

    async def _sweep_expired(self) -> None:
        arguments = [self._ttl + milliseconds(self._policy.lease), _SWEEP]
        expired = await self._pipeline().run(self._scripts["expired"], [self._keys.sessions], arguments)
        if expired:
            await self._forget(expired)

    async def _forget(self, keys: Sequence[bytes]) -> None:
        """Take sessions that are over out of the index."""
        execute = self._pipeline().execute
        known = await execute("HMGET", self._keys.facts, *keys)
        gone = []
        for key, facts in zip(keys, known, strict=True):
            if facts is not None:
                values, found_by = orjson.loads(facts)
                words = [f"{word}\0{key.decode()}" for word in found_by]
                gone.append(execute("ZREM", self._keys.words, *words))
                gone += [execute("SREM", self._keys.facet(name, value), key) for name, value in values.items()]
        # Last, for as long as it stands there a sweep finds what is left.
        gone += [execute("HDEL", self._keys.facts, *keys), execute("ZREM", self._keys.sessions, *keys)]
        await asyncio.gather(*gone)

    def _forget_soon(self, session: Session) -> None:
        """Take a session that was closed out of the index, behind: a sweep does it, too."""
        post, key = self._pipeline().post, session.key
        self._opened.pop(key, None)
        post("ZREM", self._keys.words, *(f"{word}\0{key}" for word in words_of(session)))
        for name, value in _values(session).items():
            post("SREM", self._keys.facet(name, value), key)
        post("HDEL", self._keys.facts, key)
        post("ZREM", self._keys.sessions, key)

    # -- reading -------------------------------------------------------------------------------------

    async def sessions(self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING) -> Page:
        await self._write_use()
        if not query:
            return await self._newest(offset, limit)
        facets = [_Facet(self._keys.facet(name, value), name == "node") for name, value in query.values.items()]
        if query.word:
            first = f"[{query.word}".encode()
            last = first + b"\xff"  # which is in no UTF-8
            words = await self._pipeline().execute("ZRANGEBYLEX", self._keys.words, first, last, "LIMIT", 0, _FEW)
            candidates = list(dict.fromkeys(word.rpartition(b"\0")[2] for word in words))
            return await self._of_few(candidates, facets, query, offset, limit, is_all=len(words) < _FEW)
        sizes = await asyncio.gather(*(self._pipeline().execute(*facet.size) for facet in facets))
        size, smallest = min(zip(sizes, facets, strict=True), key=lambda item: int(item[0]))
        if size <= _FEW:
            candidates = list(await self._pipeline().execute(*smallest.members))
            others = [facet for facet in facets if facet is not smallest]
            return await self._of_few(candidates, others, query, offset, limit, is_all=True)
        return await self._of_many(facets, size, query, offset, limit)

    async def _newest(self, offset: int, limit: int) -> Page:
        """Return a page of all sessions."""
        while True:
            keys, total = await self._pipeline().run(
                self._scripts["page"], [self._keys.sessions], [self._ttl, offset, limit]
            )
            found = await self._records(keys)
            gone = [key for key, session in zip(keys, found, strict=True) if session is None]
            if not gone:
                return Page(tuple(session for session in found if session is not None), total)
            await self._forget(gone)

    async def _of_few(
        self,
        candidates: list[bytes],
        facets: Sequence[_Facet],
        query: SessionQuery,
        offset: int,
        limit: int,
        *,
        is_all: bool,
    ) -> Page:
        """Return a page of some sessions, of which each one is looked at."""
        candidates = await self._in_all(candidates, facets)
        if not candidates:
            return Page((), 0, is_all)
        arguments = [self._ttl, *candidates]
        seen = await self._pipeline().run(self._scripts["seen"], [self._keys.sessions], arguments)
        newest = sorted(((int(time), key) for time, key in zip(seen, candidates, strict=True) if time), reverse=True)
        found = list[Session]()
        total, at = len(newest), 0
        while at < len(newest) and len(found) < offset + limit:
            part = [key for _, key in newest[at : at + max(limit, _STRIDE)]]
            at += len(part)
            fitting = await self._fitting(part, query)
            total -= len(part) - len(fitting)
            found += fitting
        return Page(tuple(found[offset : offset + limit]), total, is_all and at >= len(newest))

    async def _of_many(
        self, facets: Sequence[_Facet], size: int, query: SessionQuery, offset: int, limit: int
    ) -> Page:
        """Return a page of the newest sessions that fit, without looking at all of them."""
        found, at = list[Session](), 0
        while len(found) < offset + limit and at < _MOST_LOOKED_AT:
            keys, _ = await self._pipeline().run(
                self._scripts["page"], [self._keys.sessions], [self._ttl, at, _STRIDE]
            )
            if not keys:
                break
            at += len(keys)
            found += await self._fitting(await self._in_all(keys, facets), query)
        return Page(tuple(found[offset : offset + limit]), max(size, len(found)), is_exact=False)

    async def _in_all(self, keys: list[bytes], facets: Sequence[_Facet]) -> list[bytes]:
        """Return the keys that each facet has."""
        if not keys or not facets:
            return keys
        execute = self._pipeline().execute
        known = await asyncio.gather(*(execute(*facet.asked_for(keys)) for facet in facets))
        return [key for key, *among in zip(keys, *known, strict=True) if all(among)]

    async def _fitting(self, keys: Sequence[bytes], query: SessionQuery) -> list[Session]:
        """Return those sessions that are what the index says of them."""
        return [session for session in await self._records(keys) if session is not None and query.matches(session)]

    async def _records(self, keys: Sequence[bytes]) -> list[Session | None]:
        return [session for session, _ in await asyncio.gather(*(self._look(key.decode()) for key in keys))]

    async def _look(self, key: str) -> tuple[Session | None, tuple[Flight, ...]]:
        found = await self._run("get", key, ("flights",), [])
        if found is None:
            return None, ()
        flights = tuple(codec.decode_flight(*item) for item in codec.pairs(found[1]))
        return codec.decode_session(key, found[0]), flights


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), _PART):
        yield keys[at : at + _PART]


def _values(session: Session) -> dict[str, str]:
    """Return what filters can ask of a session and never changes."""
    named = {"user": session.user, "client": client_of(session), "protocol_version": session.protocol_version}
    return {name: value for name, value in named.items() if value}
