"""Session records in a Django cache, streams in the process.

The compatible backend: any cache will do. It is for one process, or for several behind a sticky load
balancer: another process knows a session and its state, but not its streams.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from itertools import cycle
from typing import Any, Final, TypeVar

import orjson
from django.core.cache import BaseCache, caches

from mcp_transport.backends.base import Overview, Page
from mcp_transport.backends.local import Change, LocalBackend
from mcp_transport.connections import end_connections
from mcp_transport.exceptions import BackendError
from mcp_transport.executor import DaemonThreads, SerialExecutor
from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.search import EVERYTHING, SessionQuery
from mcp_transport.protocol.session import Session

__all__ = ["CacheBackend"]

_T = TypeVar("_T")

# A cache cannot list its keys, so the sessions are indexed in this many entries, each a dict of key -> last
# seen. Two processes that change one entry at once may lose a line of it: the listing is a best effort.
_SHARDS: Final = 16

# Cache clients block: this many operations of a process may be under way.
_THREADS: Final = 4


class CacheBackend(LocalBackend):
    """Keeps session records in the cache of one alias."""

    supports_listing = True

    def __init__(self, policy: Policy, now: Callable[[], float], alias: str = "default") -> None:
        super().__init__(policy, now)
        self._alias = alias
        # Django's cache handler is local to a context, which under ASGI means a new client per request. So
        # each thread of a small pool keeps a client of its own for the life of the process.
        threads = DaemonThreads("mcp-cache")
        self._executors = [SerialExecutor(threads) for _ in range(_THREADS)]
        self._next_executor = cycle(self._executors)
        self._own = threading.local()
        # Two writes of one process never meet; two of different processes may, and the later one wins.
        self._locks = [threading.Lock() for _ in range(_SHARDS)]

    @property
    def shares_sessions(self) -> bool:  # type: ignore[override]
        return not caches.settings[self._alias]["BACKEND"].endswith(("LocMemCache", "DummyCache"))

    async def ping(self) -> None:
        await self._in_thread(lambda cache: cache.get("mcp:ping"))

    async def open(self, session: Session) -> tuple[str, ...]:
        def store(cache: BaseCache) -> None:
            with self._lock(session.key):
                self._write(cache, session)
                self._index(cache, session.key, session.last_seen)

        await self._in_thread(store)
        return ()

    async def load(self, key: str) -> Session | None:
        return await self._in_thread(lambda cache: self._read(cache, [key]).get(key))

    async def modify(self, key: str, change: Change) -> Session | None:
        def replace(cache: BaseCache) -> Session | None:
            with self._lock(key):
                session = self._read(cache, [key]).get(key)
                changed = change(session) if session is not None else None
                if changed is not None:
                    self._write(cache, changed)
                return changed

        return await self._in_thread(replace)

    async def remove(self, key: str) -> None:
        def drop(cache: BaseCache) -> None:
            with self._lock(key):
                cache.set(f"mcp:{key}:closed", True, self._policy.session_ttl)
                cache.delete_many([f"mcp:{key}", f"mcp:{key}:d"])
                self._index(cache, key, None)

        await self._in_thread(drop)

    async def sessions(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        return self.page(await self._living(), offset, limit, query, order)

    async def overview(self) -> Overview:
        return self.sum_up(await self._living())

    async def _living(self) -> list[Session]:
        def collect(cache: BaseCache) -> list[Session]:
            shards = cache.get_many([_shard_name(number) for number in range(_SHARDS)])
            return list(self._read(cache, [key for shard in shards.values() for key in shard]).values())

        return await self._in_thread(collect)

    async def read_state(self, key: str) -> dict[str, bytes]:
        def read(cache: BaseCache) -> dict[str, bytes]:
            stored: dict[str, bytes] = cache.get(f"mcp:{key}:d", {}) if self._read(cache, [key]) else {}
            return stored

        return await self._in_thread(read)

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        def write(cache: BaseCache) -> bool:
            with self._lock(key):
                if not self._read(cache, [key]):
                    return False
                state: dict[str, bytes] = cache.get(f"mcp:{key}:d", {})
                known = name in state
                if value is None:
                    state.pop(name, None)
                else:
                    state[name] = value
                cache.set(f"mcp:{key}:d", state, self._policy.session_max_age)
                return known

        return await self._in_thread(write)

    def _read(self, cache: BaseCache, keys: list[str]) -> dict[str, Session]:
        """Return the live sessions among `keys`."""
        found = cache.get_many([name for key in keys for name in (f"mcp:{key}", f"mcp:{key}:closed")])
        # Another process's write that was under way when a session ended may have brought its record back: the
        # mark decides.
        open_keys = [key for key in keys if f"mcp:{key}" in found and f"mcp:{key}:closed" not in found]
        sessions = {key: _decode(found[f"mcp:{key}"]) for key in open_keys}
        return {key: session for key, session in sessions.items() if session and self.remaining(session) > 0}

    def _write(self, cache: BaseCache, session: Session) -> None:
        cache.set(f"mcp:{session.key}", _encode(session), self.remaining(session))

    def _lock(self, key: str) -> threading.Lock:
        return self._locks[_shard(key)]

    def _index(self, cache: BaseCache, key: str, last_seen: float | None) -> None:
        """Add a session to its shard of the index, or take it out, and drop what has expired."""
        shard_name = _shard_name(_shard(key))
        oldest = self._now() - self._policy.session_max_age
        shard = {known: seen for known, seen in cache.get(shard_name, {}).items() if seen > oldest}
        if last_seen is None:
            shard.pop(key, None)
        else:
            shard[key] = last_seen
        cache.set(shard_name, shard, self._policy.session_max_age)

    async def _in_thread(self, work: Callable[[BaseCache], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(next(self._next_executor), self._run, work)
        except Exception as error:
            raise BackendError(f"cache {self._alias!r} did not answer: {type(error).__name__}") from error

    def _run(self, work: Callable[[BaseCache], _T]) -> _T:
        if not hasattr(self._own, "cache"):
            self._own.cache = caches.create_connection(self._alias)
        try:
            return work(self._own.cache)
        finally:
            end_connections()  # a database cache uses Django's


def _shard(key: str) -> int:
    return int(key[:2], 36) % _SHARDS


def _shard_name(number: int) -> str:
    return f"mcp:sessions:{number}"


def _encode(session: Session) -> bytes:
    return orjson.dumps(asdict(session))


def _decode(raw: Any) -> Session | None:
    """Read a record; members that another release has added are left out, and what is no record is no session."""
    try:
        members = orjson.loads(raw)
        known = {field.name: members[field.name] for field in fields(Session) if field.name in members}
        return Session(**{**known, "subscriptions": tuple(known.get("subscriptions", ()))})
    except (orjson.JSONDecodeError, TypeError, AttributeError):
        return None
