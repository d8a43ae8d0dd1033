"""The index of sessions: what `finding` needs for pages of those that an operator asks for.

What a session is found by is written with a node's beat, so it is a few seconds behind the session itself, and on no
request's way. Every key has an end, and records have the last word.
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
from mcp_transport.supervision import attempt, contained

__all__ = ["RedisSessionIndex"]

# How many sessions are written at a time.
_PART: Final = 250
# How many expired sessions a beat forgets.
_SWEEP: Final = 500


class RedisSessionIndex(RedisStore):
    """Writes what sessions are found by."""

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
        for by, counts in self._counts.items():
            self._counts[by] = {}
            for part in _parts(list(counts)):
                scores = [word for key in part for word in (counts[key], key)]
                await self._execute_each([("ZADD", self._keys.ordered(by), "XX", *scores)])
        initialized, self._initialized = list(self._initialized), set()
        for part in _parts(initialized):
            await self._execute_each([("SREM", self._opening, *part)])
        await self._sweep_expired()

    @property
    def _opening(self) -> str:
        """Name the set of sessions whose client has not said `notifications/initialized`."""
        return self._keys.facet("state", State.OPENING)

    async def _add(self, sessions: Sequence[Session]) -> None:
        members: dict[str, list[str]] = {}
        words, facts, begun, nothing = list[Any](), list[Any](), list[Any](), list[Any]()
        for session in sessions:
            begun += [milliseconds(session.created), session.key]
            nothing += [0, session.key]
            values, found_by = _values(session), list(search_terms(session))
            for name, value in values.items():
                members.setdefault(self._keys.facet(name, value), []).append(session.key)
            words += [item for word in found_by for item in (0, f"{word}\0{session.key}")]
            facts += [session.key, orjson.dumps([values, found_by])]
        commands = [("SADD", key, *keys) for key, keys in members.items()]
        commands += [("ZADD", self._keys.words, *words), ("HSET", self._keys.facts, *facts)]
        commands += [("ZADD", self._keys.ordered("created"), *begun)]
        # Another node may have counted already, before it was known here.
        commands += [("ZADD", self._keys.ordered(by), "NX", *nothing) for by in self._counts]
        await self._write(commands)
        # Another node may have closed one before this was written, and will not look again.
        asked = self._pipeline().execute("ZMSCORE", self._keys.sessions, *(item.key for item in sessions))
        listed = await attempt("the index of sessions cannot be read", asked, [0.0] * len(sessions))
        if gone := [item.key.encode() for item, seen in zip(sessions, listed, strict=True) if seen is None]:
            await self._forget(gone)
        await self._add_opening([item.key for item, seen in zip(sessions, listed, strict=True) if seen is not None])

    async def _add_opening(self, keys: Sequence[str]) -> None:
        """Note those whose client has not said `notifications/initialized`; another node may have heard it."""
        execute = self._pipeline().execute
        records = [self._keys.of_session(key)[0] for key in keys]
        asked = [execute("HGET", record, "initialized") for record in records]
        said = await asyncio.gather(*(attempt("a session cannot be read", answer, None) for answer in asked))
        if opening := [key for key, told in zip(keys, said, strict=True) if told == b"0"]:
            await self._write([("SADD", self._opening, *opening)])

    async def _note_served(self, node: str, keys: Sequence[str]) -> None:
        arguments = [self._ttl + milliseconds(self._policy.lease), *keys]
        run = self._pipeline().run(self._scripts["served"], [self._keys.facet("node", node)], arguments)
        await attempt("the sessions of a node cannot be noted", run, None)

    async def _write(self, commands: Iterable[tuple[Any, ...]]) -> None:
        await self._execute_each(
            item for command in commands for item in (command, ("PEXPIRE", command[1], self._kept))
        )

    async def _sweep_expired(self) -> None:
        arguments = [self._ttl + milliseconds(self._policy.lease), _SWEEP]
        run = self._pipeline().run(self._scripts["expired"], [self._keys.sessions], arguments)
        if expired := await attempt("the index of sessions cannot be read", run, []):
            await self._forget(expired)

    async def _forget(self, keys: Sequence[bytes]) -> None:
        """Take sessions that are over out of the index."""
        asked = self._pipeline().execute("HMGET", self._keys.facts, *keys)
        known = await attempt("what sessions are found by cannot be read", asked, [None] * len(keys))
        gone = list[tuple[Any, ...]]()
        for key, facts in zip(keys, known, strict=True):
            with contained("what a session is found by cannot be read"):
                gone += self._found_by(key, facts) if facts is not None else ()
        gone += [("ZREM", self._keys.ordered(by), *keys) for by in ("created", *self._counts)]
        gone.append(("SREM", self._opening, *keys))
        # Last, for as long as it stands there a sweep finds what is left.
        gone += [("HDEL", self._keys.facts, *keys), ("ZREM", self._keys.sessions, *keys)]
        await self._execute_each(gone)

    def _found_by(self, key: bytes, facts: bytes) -> list[tuple[Any, ...]]:
        """Return the commands that forget what a session is found by. Raises: whatever is wrong with the facts."""
        values, found_by = orjson.loads(facts)
        words = [f"{word}\0{key.decode()}" for word in found_by]
        facets = [("SREM", self._keys.facet(name, value), key) for name, value in values.items()]
        return [("ZREM", self._keys.words, *words), *facets]

    def _forget_soon(self, session: Session) -> None:
        """Take a session that was closed out of the index, behind: a sweep does it, too."""
        post, key = self._pipeline().post, session.key
        self._opened.pop(key, None)
        post("ZREM", self._keys.words, *(f"{word}\0{key}" for word in search_terms(session)))
        for name, value in _values(session).items():
            post("SREM", self._keys.facet(name, value), key)
        for by in ("created", *self._counts):
            post("ZREM", self._keys.ordered(by), key)
        post("SREM", self._opening, key)
        post("HDEL", self._keys.facts, key)
        post("ZREM", self._keys.sessions, key)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), _PART):
        yield keys[at : at + _PART]


def _values(session: Session) -> dict[str, str]:
    """Return what filters can ask of a session and never changes."""
    named = {"user": session.user, "client": client_of(session), "protocol_version": session.protocol_version}
    return {name: value for name, value in named.items() if value}
