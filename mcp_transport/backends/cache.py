"""Session records in a Django cache, streams in the process.

The compatible backend: any cache will do. It is for one process, or for several behind a sticky load
balancer: another process knows a session and its state, but not its streams.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final, TypeVar

import orjson
from django.core.cache import BaseCache, caches
from django.db import close_old_connections

from mcp_transport.backends.base import Page
from mcp_transport.backends.local import LocalBackend
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.session import Session

__all__ = ["CacheBackend"]

_T = TypeVar("_T")

# A cache cannot list its keys, so the sessions are indexed in this many entries, each a dict of key -> last
# seen. Two processes that change one entry at once may lose a line of it: the listing is a best effort.
_SHARDS: Final = 16


class CacheBackend(LocalBackend):
    """Keeps session records in the cache of one alias."""

    supports_listing = True

    def __init__(self, policy: Policy, now: Callable[[], float], alias: str = "default") -> None:
        super().__init__(policy, now)
        self._alias = alias
        # Django's cache handler is local to a context, which under ASGI means a new client per request. So
        # each thread of a small pool keeps a client of its own for the life of the process.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="mcp-cache")
        self._own = threading.local()
        self._state_lock = threading.Lock()

    @property
    def shares_sessions(self) -> bool:  # type: ignore[override]
        return not caches.settings[self._alias]["BACKEND"].endswith(("LocMemCache", "DummyCache"))

    async def ping(self) -> None:
        await self._in_thread(lambda cache: cache.get("mcp:ping"))

    async def open(self, session: Session) -> tuple[str, ...]:
        await self.save(session)
        await self._in_thread(lambda cache: self._index(cache, session.key, session.last_seen))
        return ()

    async def load(self, key: str) -> Session | None:
        names = f"mcp:{key}", f"mcp:{key}:closed"
        found = await self._in_thread(lambda cache: cache.get_many(names))
        # A write that was under way when the session ended may have brought the record back: the mark decides.
        session = _decode(found[names[0]]) if names[0] in found and names[1] not in found else None
        return session if session is not None and session.ends > self._now() else None

    async def save(self, session: Session) -> None:
        lifetime = min(self._policy.session_ttl, session.ends - self._now())
        await self._in_thread(lambda cache: cache.set(f"mcp:{session.key}", _encode(session), lifetime))

    async def remove(self, key: str) -> None:
        def drop(cache: BaseCache) -> None:
            cache.set(f"mcp:{key}:closed", True, self._policy.session_ttl)
            cache.delete_many([f"mcp:{key}", f"mcp:{key}:d"])
            self._index(cache, key, None)

        await self._in_thread(drop)

    async def sessions(self, offset: int = 0, limit: int = 100) -> Page:
        def collect(cache: BaseCache) -> list[str]:
            shards = cache.get_many([_shard_name(number) for number in range(_SHARDS)])
            keys = [key for shard in shards.values() for key in shard]
            return [raw for raw in cache.get_many([f"mcp:{key}" for key in keys]).values() if raw is not None]

        found = sorted(map(_decode, await self._in_thread(collect)), key=lambda item: -item.last_seen)
        return Page(tuple(found[offset : offset + limit]), len(found))

    async def read_state(self, key: str) -> dict[str, bytes]:
        stored: dict[str, bytes] = await self._in_thread(lambda cache: cache.get(f"mcp:{key}:d", {}))
        return stored

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        def write(cache: BaseCache) -> bool:
            with self._state_lock:
                state: dict[str, bytes] = cache.get(f"mcp:{key}:d", {})
                known = name in state
                if value is None:
                    state.pop(name, None)
                else:
                    state[name] = value
                cache.set(f"mcp:{key}:d", state, self._policy.session_max_age)
                return known

        return await self._in_thread(write)

    def _index(self, cache: BaseCache, key: str, last_seen: float | None) -> None:
        """Add a session to its shard of the index, or take it out, and drop what has expired."""
        shard_name = _shard_name(int(key[:2], 36) % _SHARDS)
        oldest = self._now() - self._policy.session_max_age
        shard = {known: seen for known, seen in cache.get(shard_name, {}).items() if seen > oldest}
        if last_seen is None:
            shard.pop(key, None)
        else:
            shard[key] = last_seen
        cache.set(shard_name, shard, self._policy.session_max_age)

    async def _in_thread(self, work: Callable[[BaseCache], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)
        except Exception as error:
            raise BackendError(f"cache {self._alias!r} did not answer: {type(error).__name__}") from error

    def _run(self, work: Callable[[BaseCache], _T]) -> _T:
        if not hasattr(self._own, "cache"):
            self._own.cache = caches.create_connection(self._alias)
        close_old_connections()  # a database cache uses Django's connections
        try:
            return work(self._own.cache)
        finally:
            close_old_connections()


def _shard_name(number: int) -> str:
    return f"mcp:sessions:{number}"


def _encode(session: Session) -> bytes:
    return orjson.dumps(asdict(session))


def _decode(raw: Any) -> Session:
    members = orjson.loads(raw)
    return Session(**{**members, "subscriptions": tuple(members["subscriptions"])})
