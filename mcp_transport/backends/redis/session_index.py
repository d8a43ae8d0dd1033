"""Maintain the index of sessions, which `session_search` reads for operators' queries.

Sessions are listed when they open. The rest is written after a heartbeat, so it is a few seconds older than the
sessions, and costs requests nothing. Every key expires, and searches check each match against the session's record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from mcp_transport.backends.codec import milliseconds
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.pending import IndexChanges
from mcp_transport.backends.redis.session_facets import MAX_INDEXED_VALUES
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import State, exact_values, search_terms
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import attempt, suppress_and_log

__all__ = ["SessionIndexWriter"]

# How many sessions are written at a time.
_BATCH: Final = 250
# How many expired sessions one heartbeat removes.
_SWEEP_BATCH: Final = 500
# How much longer than a session the index lives, so that a sweep finds the session there.
_INDEX_MARGIN_SECONDS: Final = 3600.0
# The most sessions that a new one evicts, if the limit was lowered.
_MAX_EVICTED: Final = 32
# The numbers that sessions are sorted by.
_COUNTS: Final = ("requests", "errors")


class SessionIndexWriter:
    """Adds sessions to the index, and removes them from it."""

    def __init__(self, client: RedisClient, changes: IndexChanges) -> None:
        self._client, self._keys, self._changes = client, client.keys, changes
        policy = client.policy
        # How long an index lists an unused session: heartbeats report its use.
        self._keep = client.ttl + milliseconds(policy.lease)
        # Longer than any session in an index lives.
        self._index_ttl = milliseconds(policy.session_max_age + policy.lease + _INDEX_MARGIN_SECONDS)
        self._opening_key = client.keys.facet("state", State.OPENING)
        # Used sessions that are not written in full yet.
        self._used: dict[str, Session] = {}
        self._sweeps_until = 0.0

    # -- when a session opens or closes --------------------------------------------------------------

    def admit(
        self, session: Session, *, leaving: Sequence[bytes] = (), busy: Sequence[bytes] = ()
    ) -> asyncio.Future[Any]:
        """Send the script that adds a session to its caller's index, within the limit or in place of `leaving`.

        Return how many sessions must leave, with the least recently used ones; or 0, with those that have left.
        """
        index, limit = self._keys.sessions_of(session.caller), self._client.policy.max_sessions_per_principal
        arguments = [session.key, self._keep, self._keep, limit, _MAX_EVICTED, len(leaving), *leaving, *busy]
        return self._client.run("admit", [index], arguments)

    def add(self, session: Session, index: str) -> asyncio.Future[Any]:
        """Send the script that adds a session to the index of all, or of its caller, whatever the limit."""
        return self._client.run("index", [index], [session.key, self._ttl_of(index)])

    def _ttl_of(self, index: str) -> int:
        """Return the TTL of an index in milliseconds; that of all sessions outlives every session."""
        return self._index_ttl if index == self._keys.sessions else self._keep

    def remove_deferred(self, session: Session) -> None:
        """Remove a closed session by deferred commands; a sweep repeats those that fail."""
        key = session.key
        self._changes.opened.pop(key, None)
        commands = [("ZREM", self._keys.sessions_of(session.caller), key)]
        commands += self._removal_of_values(key, _values(session), search_terms(session))
        for command in [*commands, *self._removal([key])]:
            self._client.batcher.post(*command)

    def remove_opening(self, key: str) -> None:
        """Remove, by a deferred command, a session from those that are not initialized yet."""
        self._client.batcher.post("SREM", self._opening_key, key)

    # -- after a heartbeat ---------------------------------------------------------------------------

    async def write(self) -> None:
        """Write changes, and remove expired sessions unless this node has long been idle. Raises: BackendError."""
        self._send_notes()
        await self.write_last_use()
        changes, policy = self._changes, self._client.policy
        if changes.opened or self._used:
            # By then, the last of these sessions has expired, and was removed.
            self._sweeps_until = time.monotonic() + policy.session_ttl + 5 * policy.lease
        elif time.monotonic() >= self._sweeps_until:
            return
        # In batches, so that neither this loop nor Redis blocks for long.
        while opened := [changes.opened.pop(key) for key in list(changes.opened)[:_BATCH]]:
            try:
                await self._add(opened)
            except BackendError:
                changes.opened = {session.key: session for session in opened} | changes.opened
                raise
        used, self._used = self._used, {}
        try:
            await self._write_served(used.values())
            await self._write_counts("requests", {key: session.requests for key, session in used.items()})
        except BackendError:
            self._used = used | self._used
            raise
        errors, changes.errors = changes.errors, {}
        await self._write_counts("errors", errors)
        initialized, changes.initialized = changes.initialized, set()
        for batch in _batches(list(initialized)):
            await self._execute_each([("SREM", self._opening_key, *batch)])
        await self._sweep_expired()

    def _send_notes(self) -> None:
        """Send the scripts for requests that were not admitted; they are sent together with the next command."""
        notes, self._changes.notes = self._changes.notes, []
        for key, arguments in notes:
            self._client.run_in_session("note", key, ("history",), arguments, deferred=True)

    async def write_last_use(self) -> None:
        """Write when sessions were last used here. Raises: BackendError."""
        used, self._changes.used = self._changes.used, {}
        touched, self._changes.touched = self._changes.touched, {}
        self._used |= used
        uses = dict(touched)
        for key, session in list(used.items()):
            at = milliseconds(session.last_seen)
            if key not in uses or uses[key][1] < at:
                uses[key] = session.caller, at
        by_index: dict[str, list[Any]] = {}
        for key, (caller, at) in uses.items():
            for index in (self._keys.sessions_of(caller), self._keys.sessions):
                by_index.setdefault(index, []).extend((at, key))
        commands = list[tuple[Any, ...]]()
        for index, members in by_index.items():
            commands += [("ZADD", index, "XX", *members), ("PEXPIRE", index, self._ttl_of(index))]
        await self._execute_each(commands)

    async def _write_served(self, sessions: Iterable[Session]) -> None:
        """Write which node has served a session last."""
        by_node: dict[str, list[str]] = {}
        for session in sessions:
            by_node.setdefault(session.node, []).append(session.key)
        await asyncio.gather(
            self._write_indexed_values("node", by_node),
            *(
                attempt("the sessions of a node cannot be indexed", self._send_served(node, batch), None)
                for node, keys in by_node.items()
                for batch in _batches(keys)
            ),
        )

    def _send_served(self, node: str, keys: Sequence[str]) -> asyncio.Future[Any]:
        return self._client.run("served", [self._keys.facet("node", node)], [self._keep, *keys])

    async def _write_indexed_values(self, name: str, values: Iterable[str]) -> None:
        """Write which values sessions have now, so that filters can offer them."""
        if listed := list(values):
            arguments = [milliseconds(time.time()), MAX_INDEXED_VALUES, self._index_ttl, *listed]
            run = self._client.run("values", [self._keys.indexed_values(name)], arguments)
            await attempt("the values of sessions cannot be indexed", run, None)

    async def _write_counts(self, by: str, counts: dict[str, int]) -> None:
        for batch in _batches(list(counts)):
            scores = [item for key in batch for item in (counts[key], key)]
            await self._execute_each([("ZADD", self._keys.ordered(by), "XX", *scores)])

    async def _add(self, sessions: Sequence[Session]) -> None:
        members: dict[str, list[str]] = {}
        values_by_name: dict[str, set[str]] = {}
        terms, entries, created, zeros = list[Any](), list[Any](), list[Any](), list[Any]()
        for session in sessions:
            created += [milliseconds(session.created), session.key]
            zeros += [0, session.key]
            values, own_terms = _values(session), list(search_terms(session))
            for name, value in values.items():
                members.setdefault(self._keys.facet(name, value), []).append(session.key)
                values_by_name.setdefault(name, set()).add(value)
            terms += [item for term in own_terms for item in (0, f"{term}\0{session.key}")]
            entries += [session.key, orjson.dumps([values, own_terms])]
        commands = [("SADD", key, *keys) for key, keys in members.items()]
        commands += [("ZADD", self._keys.search_terms, *terms), ("HSET", self._keys.index_entries, *entries)]
        commands += [("ZADD", self._keys.ordered("created"), *created)]
        # NX, since another node may already have counted requests of the session.
        commands += [("ZADD", self._keys.ordered(by), "NX", *zeros) for by in _COUNTS]
        writes = [self._write_indexed_values(*item) for item in values_by_name.items()]
        await asyncio.gather(self._write(commands), *writes)
        # Another node may have closed a session before this write, and would leave it in the index.
        reply = self._client.execute("ZMSCORE", self._keys.sessions, *(item.key for item in sessions))
        scores = await attempt("the index of sessions cannot be read", reply, [0.0] * len(sessions))
        if closed := [item.key.encode() for item, score in zip(sessions, scores, strict=True) if score is None]:
            await self.remove(closed)
        await self._add_opening([item.key for item, score in zip(sessions, scores, strict=True) if score is not None])

    async def _add_opening(self, keys: Sequence[str]) -> None:
        """Add the sessions whose record, which any node may have changed, is not initialized yet."""
        execute = self._client.execute
        records = [self._keys.of_session(key) for key in keys]
        replies = [execute("HGET", record, "initialized") for record in records]
        values = await asyncio.gather(*(attempt("a session cannot be read", reply, None) for reply in replies))
        if opening := [key for key, value in zip(keys, values, strict=True) if value == b"0"]:
            await self._write([("SADD", self._opening_key, *opening)])

    async def _write(self, commands: Iterable[tuple[Any, ...]]) -> None:
        await self._execute_each(
            item for command in commands for item in (command, ("PEXPIRE", command[1], self._index_ttl))
        )

    async def _sweep_expired(self) -> None:
        run = self._client.run("expired", [self._keys.sessions], [self._keep, _SWEEP_BATCH])
        if expired := await attempt("the index of sessions cannot be read", run, []):
            await self.remove(expired)

    async def remove(self, keys: Sequence[bytes]) -> None:
        """Remove sessions that have ended from the index."""
        reply = self._client.execute("HMGET", self._keys.index_entries, *keys)
        entries = await attempt("the index entries of sessions cannot be read", reply, [None] * len(keys))
        commands = list[tuple[Any, ...]]()
        for key, entry in zip(keys, entries, strict=True):
            with suppress_and_log("the index entry of a session cannot be read"):
                commands += self._removal_of_values(key.decode(), *orjson.loads(entry)) if entry is not None else ()
        await self._execute_each([*commands, *self._removal(keys)])

    def _removal(self, keys: Sequence[bytes | str]) -> Iterator[tuple[Any, ...]]:
        """Return the commands that remove sessions from the sets of all sessions."""
        for by in ("created", *_COUNTS):
            yield "ZREM", self._keys.ordered(by), *keys
        yield "SREM", self._opening_key, *keys
        # Last: as long as a session is in `sessions`, a sweep finds it and removes the rest.
        yield "HDEL", self._keys.index_entries, *keys
        yield "ZREM", self._keys.sessions, *keys

    def _removal_of_values(
        self, key: str, values: Mapping[str, str], terms: Iterable[str]
    ) -> Iterator[tuple[Any, ...]]:
        """Return the commands that remove a session's terms and values."""
        yield "ZREM", self._keys.search_terms, *(f"{term}\0{key}" for term in terms)
        for name, value in values.items():
            yield "SREM", self._keys.facet(name, value), key

    async def _execute_each(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Send commands; log the failure of each, so that it affects no other. Raises: BackendError."""
        execute = self._client.execute
        sent = [(f"the index {command[1]} cannot be written", execute(*command)) for command in commands]
        await asyncio.gather(*(attempt(what, answer, None) for what, answer in sent))


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), _BATCH):
        yield keys[at : at + _BATCH]


def _values(session: Session) -> dict[str, str]:
    """Return the values to filter by that never change in a session's life; that of an anonymous user is empty."""
    values = exact_values(session)
    return {name: value for name, value in values.items() if name != "node" and (value or name == "user")}
