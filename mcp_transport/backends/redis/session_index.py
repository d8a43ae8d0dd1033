"""Maintain the index of sessions, which `session_search` reads for operators' queries.

The index is written after a node's heartbeat, so it is a few seconds older than the sessions, and costs requests
nothing. Every key expires, and searches check each match against the session's record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import orjson

from mcp_transport.backends.redis.codec import milliseconds
from mcp_transport.backends.redis.store import RedisStore
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import State, client_of, search_terms
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import attempt, suppress_and_log

__all__ = ["RedisSessionIndex"]

# How many sessions are written at a time.
_BATCH: Final = 250
# How many expired sessions one heartbeat removes.
_SWEEP_BATCH: Final = 500


class RedisSessionIndex(RedisStore):
    """Adds sessions to the index, and removes them from it."""

    async def _write_index(self) -> None:
        """Write changes and remove expired sessions, unless this node has long been idle. Raises: BackendError."""
        if self._opened or self._served:
            # By then, the last of these sessions has expired, and was removed.
            self._sweeps_until = time.monotonic() + self._policy.session_ttl + 5 * self._policy.lease
        elif time.monotonic() >= self._sweeps_until:
            return
        # In batches, so that neither this loop nor Redis blocks for long.
        while opened := [self._opened.pop(key) for key in list(self._opened)[:_BATCH]]:
            try:
                await self._add(opened)
            except BackendError:
                self._opened = {session.key: session for session in opened} | self._opened
                raise
        served, self._served = self._served, {}
        for node, keys in served.items():
            for batch in _batches(list(keys)):
                await self._record_served(node, batch)
        for by, counts in self._counts.items():
            self._counts[by] = {}
            for batch in _batches(list(counts)):
                scores = [item for key in batch for item in (counts[key], key)]
                await self._execute_each([("ZADD", self._keys.ordered(by), "XX", *scores)])
        initialized, self._initialized = list(self._initialized), set()
        for batch in _batches(initialized):
            await self._execute_each([("SREM", self._opening_key, *batch)])
        await self._sweep_expired()

    @property
    def _opening_key(self) -> str:
        """Return the key of the sessions whose client has not sent `notifications/initialized` yet."""
        return self._keys.facet("state", State.OPENING)

    async def _add(self, sessions: Sequence[Session]) -> None:
        members: dict[str, list[str]] = {}
        terms, entries, created, zeros = list[Any](), list[Any](), list[Any](), list[Any]()
        for session in sessions:
            created += [milliseconds(session.created), session.key]
            zeros += [0, session.key]
            values, own_terms = _values(session), list(search_terms(session))
            for name, value in values.items():
                members.setdefault(self._keys.facet(name, value), []).append(session.key)
            terms += [item for term in own_terms for item in (0, f"{term}\0{session.key}")]
            entries += [session.key, orjson.dumps([values, own_terms])]
        commands = [("SADD", key, *keys) for key, keys in members.items()]
        commands += [("ZADD", self._keys.search_terms, *terms), ("HSET", self._keys.index_entries, *entries)]
        commands += [("ZADD", self._keys.ordered("created"), *created)]
        # NX, since another node may already have counted requests of the session.
        commands += [("ZADD", self._keys.ordered(by), "NX", *zeros) for by in self._counts]
        await self._write(commands)
        # Another node may have closed a session before this write, and would leave it in the index.
        reply = self._pipeline().execute("ZMSCORE", self._keys.sessions, *(item.key for item in sessions))
        scores = await attempt("the index of sessions cannot be read", reply, [0.0] * len(sessions))
        if closed := [item.key.encode() for item, score in zip(sessions, scores, strict=True) if score is None]:
            await self._remove(closed)
        await self._add_opening([item.key for item, score in zip(sessions, scores, strict=True) if score is not None])

    async def _add_opening(self, keys: Sequence[str]) -> None:
        """Add the sessions whose record, which any node may have changed, is not initialized yet."""
        execute = self._pipeline().execute
        records = [self._keys.of_session(key)[0] for key in keys]
        replies = [execute("HGET", record, "initialized") for record in records]
        values = await asyncio.gather(*(attempt("a session cannot be read", reply, None) for reply in replies))
        if opening := [key for key, value in zip(keys, values, strict=True) if value == b"0"]:
            await self._write([("SADD", self._opening_key, *opening)])

    async def _record_served(self, node: str, keys: Sequence[str]) -> None:
        arguments = [self._ttl + milliseconds(self._policy.lease), *keys]
        run = self._pipeline().run(self._scripts["served"], [self._keys.facet("node", node)], arguments)
        await attempt("the sessions of a node cannot be indexed", run, None)

    async def _write(self, commands: Iterable[tuple[Any, ...]]) -> None:
        await self._execute_each(
            item for command in commands for item in (command, ("PEXPIRE", command[1], self._index_ttl))
        )

    async def _sweep_expired(self) -> None:
        arguments = [self._ttl + milliseconds(self._policy.lease), _SWEEP_BATCH]
        run = self._pipeline().run(self._scripts["expired"], [self._keys.sessions], arguments)
        if expired := await attempt("the index of sessions cannot be read", run, []):
            await self._remove(expired)

    async def _remove(self, keys: Sequence[bytes]) -> None:
        """Remove sessions that have ended from the index."""
        reply = self._pipeline().execute("HMGET", self._keys.index_entries, *keys)
        entries = await attempt("the index entries of sessions cannot be read", reply, [None] * len(keys))
        commands = list[tuple[Any, ...]]()
        for key, entry in zip(keys, entries, strict=True):
            with suppress_and_log("the index entry of a session cannot be read"):
                commands += self._removal_commands(key, entry) if entry is not None else ()
        commands += [("ZREM", self._keys.ordered(by), *keys) for by in ("created", *self._counts)]
        commands.append(("SREM", self._opening_key, *keys))
        # Last: as long as a session is in `sessions`, a sweep finds it and removes the rest.
        commands += [("HDEL", self._keys.index_entries, *keys), ("ZREM", self._keys.sessions, *keys)]
        await self._execute_each(commands)

    def _removal_commands(self, key: bytes, entry: bytes) -> list[tuple[Any, ...]]:
        """Return the commands that remove a session's terms and values. Raises: any exception for a bad entry."""
        values, own_terms = orjson.loads(entry)
        terms = [f"{term}\0{key.decode()}" for term in own_terms]
        facets = [("SREM", self._keys.facet(name, value), key) for name, value in values.items()]
        return [("ZREM", self._keys.search_terms, *terms), *facets]

    def _remove_deferred(self, session: Session) -> None:
        """Remove a closed session from the index by deferred commands; a sweep repeats those that fail."""
        post, key = self._pipeline().post, session.key
        self._opened.pop(key, None)
        post("ZREM", self._keys.search_terms, *(f"{term}\0{key}" for term in search_terms(session)))
        for name, value in _values(session).items():
            post("SREM", self._keys.facet(name, value), key)
        for by in ("created", *self._counts):
            post("ZREM", self._keys.ordered(by), key)
        post("SREM", self._opening_key, key)
        post("HDEL", self._keys.index_entries, key)
        post("ZREM", self._keys.sessions, key)


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), _BATCH):
        yield keys[at : at + _BATCH]


def _values(session: Session) -> dict[str, str]:
    """Return the values to filter by that never change in a session's life."""
    values = {"user": session.user, "client": client_of(session), "protocol_version": session.protocol_version}
    return {name: value for name, value in values.items() if value}
