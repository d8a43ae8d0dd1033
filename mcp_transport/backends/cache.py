"""Session records in a Django cache, streams in the process.

It works with any cache, for one process, or for several behind a sticky load balancer: other processes can read a
session and its state, but not its streams.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import cycle
from typing import Any, Final, TypeVar

import orjson
from django.core.cache import BaseCache, caches

from mcp_transport.backends.contracts import SessionIndex
from mcp_transport.backends.local import Change, LocalBackend
from mcp_transport.backends.records import Facets, Overview, Page
from mcp_transport.backends.subscriptions import changed_uris
from mcp_transport.connections import end_connections
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session, short_id, validated_members
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.executor import DaemonThreads, SerialExecutor
from mcp_transport.supervision import log_failure

__all__ = ["CacheBackend"]

_T = TypeVar("_T")

# A cache cannot list its keys, so sessions are indexed in this many entries, each a dict of key -> last_seen. Two
# processes that change one entry at the same time may lose an item of it: the listing is best effort.
_SHARDS: Final = 16

# Exceptions when a value was written by another program, or by another release. A closed connection raises OSError
# instead, or an exception of the cache's client.
_UNREADABLE: Final = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    zlib.error,
)

# Cache clients block: a process runs this many operations at the same time.
_THREADS: Final = 4


class CacheBackend(LocalBackend, SessionIndex):
    """Stores session records in the cache of one alias."""

    def __init__(self, policy: Policy, now: Callable[[], float], alias: str = "default") -> None:
        super().__init__(policy, now)
        self._alias = alias
        self.shares_sessions = not caches.settings[alias]["BACKEND"].endswith(("LocMemCache", "DummyCache"))
        self.keeps_answers = not self.shares_sessions  # other processes can read the session, but not its streams
        # Django's cache handler is local to a context, which under ASGI means a new client for each request. So
        # each thread of a small pool has its own client for the life of the process.
        threads = DaemonThreads("mcp-cache")
        self._executors = [SerialExecutor(threads) for _ in range(_THREADS)]
        self._next_executor = cycle(self._executors)
        self._thread_local = threading.local()
        # Serializes the writes of this process; of concurrent writes of two processes the later one wins.
        self._locks = [threading.Lock() for _ in range(_SHARDS)]

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
                raw = self._raw(cache, [key]).get(key)
                session = self._live(key, raw)
                changed = change(session) if session is not None else None
                if changed is not None:
                    if uris := _old_subscriptions(raw):
                        cache.add(_subscriptions_name(key), uris, self._policy.session_max_age)
                    self._write(cache, changed)
                return changed

        return await self._in_thread(replace)

    async def remove(self, key: str) -> None:
        def drop(cache: BaseCache) -> None:
            with self._lock(key):
                cache.set(f"mcp:{key}:closed", True, self._policy.session_ttl)
                cache.delete_many([f"mcp:{key}", _state_name(key), _subscriptions_name(key)])
                self._index(cache, key, None)

        await self._in_thread(drop)

    async def page(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        return self.page_of(await self._live_sessions(), offset, limit, query, order)

    async def page_and_facets(self, offset: int, limit: int, query: SessionQuery, order: str) -> tuple[Page, Facets]:
        live = await self._live_sessions()
        return self.page_of(live, offset, limit, query, order), self.facets_of(live)

    async def overview(self) -> Overview:
        return self.summarize(await self._live_sessions())

    async def _live_sessions(self) -> list[Session]:
        def collect(cache: BaseCache) -> list[Session]:
            shards = _values(cache, [_shard_name(number) for number in range(_SHARDS)])
            keys = [key for shard in shards.values() for key in _index_of(shard)]
            return list(self._read(cache, keys).values())

        return await self._in_thread(collect)

    async def subscribe(self, key: str, uri: str, subscribed: bool, limit: int, max_bytes: int) -> bool:
        def change(cache: BaseCache) -> bool:
            with self._lock(key):
                raw = self._raw(cache, [key]).get(key)
                if self._live(key, raw) is None:
                    return True
                changed = changed_uris(_subscriptions(cache, key, raw), uri, subscribed, limit, max_bytes)
                if changed is not None:
                    cache.set(_subscriptions_name(key), sorted(changed), self._policy.session_max_age)
                return changed is not None

        return await self._in_thread(change)

    async def subscriptions(self, key: str) -> frozenset[str]:
        def read(cache: BaseCache) -> frozenset[str]:
            raw = self._raw(cache, [key]).get(key)
            return _subscriptions(cache, key, raw) if self._live(key, raw) is not None else frozenset()

        return await self._in_thread(read)

    async def read_state(self, key: str) -> dict[str, bytes]:
        def read(cache: BaseCache) -> dict[str, bytes]:
            return _state(cache, key) if self._read(cache, [key]) else {}

        return await self._in_thread(read)

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        def write(cache: BaseCache) -> bool:
            with self._lock(key):
                if not self._read(cache, [key]):
                    return False
                state = _state(cache, key)
                is_stored = name in state
                if value is None:
                    state.pop(name, None)
                else:
                    state[name] = value
                cache.set(_state_name(key), state, self._policy.session_max_age)
                return is_stored

        return await self._in_thread(write)

    def _read(self, cache: BaseCache, keys: list[str]) -> dict[str, Session]:
        """Return the live sessions among `keys`."""
        sessions = {key: self._live(key, raw) for key, raw in self._raw(cache, keys).items()}
        return {key: session for key, session in sessions.items() if session is not None}

    def _raw(self, cache: BaseCache, keys: list[str]) -> dict[str, Any]:
        """Return the records of those sessions among `keys` that were not closed."""
        values = _values(cache, [name for key in keys for name in (f"mcp:{key}", f"mcp:{key}:closed")])
        # A write of another process during the close may have stored the record again: the `closed` mark decides.
        open_keys = [key for key in keys if f"mcp:{key}" in values and f"mcp:{key}:closed" not in values]
        return {key: values[f"mcp:{key}"] for key in open_keys}

    def _live(self, key: str, raw: Any) -> Session | None:
        """Decode a record; return None if there is none, or its session has expired."""
        session = _decode(key, raw) if raw is not None else None
        return session if session is not None and self.remaining(session) > 0 else None

    def _write(self, cache: BaseCache, session: Session) -> None:
        cache.set(f"mcp:{session.key}", _encode(session), self.remaining(session))

    def _lock(self, key: str) -> threading.Lock:
        return self._locks[_shard(key)]

    def _index(self, cache: BaseCache, key: str, last_seen: float | None) -> None:
        """Add a session to its shard of the index or, with None, remove it; drop expired sessions."""
        name, oldest = _shard_name(_shard(key)), self._now() - self._policy.session_max_age
        entries = _index_of(_values(cache, [name]).get(name, {}))
        shard = {entry: used_at for entry, used_at in entries.items() if used_at > oldest}
        if last_seen is None:
            shard.pop(key, None)
        else:
            shard[key] = last_seen
        cache.set(name, shard, self._policy.session_max_age)

    async def _in_thread(self, work: Callable[[BaseCache], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(next(self._next_executor), self._run, work)
        except Unreadable:
            raise
        except Exception as error:
            raise BackendError(f"cache {self._alias!r} did not answer: {type(error).__name__}") from error

    def _run(self, work: Callable[[BaseCache], _T]) -> _T:
        if not hasattr(self._thread_local, "cache"):
            self._thread_local.cache = caches.create_connection(self._alias)
        try:
            return work(self._thread_local.cache)
        finally:
            end_connections()  # a database cache opens Django's database connections


def _shard(key: str) -> int:
    return int(key[:2], 36) % _SHARDS


def _shard_name(number: int) -> str:
    return f"mcp:sessions:{number}"


def _index_of(shard: Any) -> dict[str, float]:
    """Decode a shard of the index."""
    try:
        return {str(key): float(used_at) for key, used_at in shard.items()}
    except _UNREADABLE as error:
        log_failure("a part of the index of sessions cannot be read", error)
        return {}


def _encode(session: Session) -> bytes:
    try:
        return orjson.dumps(session)
    except TypeError:  # integers beyond 64 bits in the client's info or capabilities
        return json.dumps(asdict(session)).encode()


def _decode(key: str, raw: Any) -> Session | None:
    """Decode a record, without fields that another release has added; return None for an unreadable one."""
    try:
        return Session(**{**validated_members(orjson.loads(raw)), "key": key})
    except _UNREADABLE as error:
        log_failure(f"session {short_id(key)} cannot be read, and is unknown", error)
        return None


def _state_name(key: str) -> str:
    return f"mcp:{key}:d"


def _state(cache: BaseCache, key: str) -> dict[str, bytes]:
    """Return the values that tools have stored in a session. Raises: Unreadable."""
    stored = cache.get(_state_name(key), {})
    if not isinstance(stored, dict):
        raise Unreadable(f"the state of session {short_id(key)} is {type(stored).__name__}")
    return stored


def _subscriptions_name(key: str) -> str:
    return f"mcp:{key}:u"


def _subscriptions(cache: BaseCache, key: str, record: Any) -> frozenset[str]:
    """Return the URIs that a session has subscribed to. Raises: Unreadable."""
    stored = cache.get(_subscriptions_name(key))
    uris = _old_subscriptions(record) if stored is None else stored
    if isinstance(uris, list) and all(isinstance(uri, str) for uri in uris):
        return frozenset(uris)
    raise Unreadable(f"the subscriptions of session {short_id(key)} cannot be read")


def _old_subscriptions(record: Any) -> Any:
    """Return the subscriptions that the previous release stored in a record; `modify` moves them out of it."""
    is_old = isinstance(record, bytes) and b'"subscriptions":["' in record
    return orjson.loads(record).get("subscriptions", []) if is_old else []


def _values(cache: BaseCache, names: list[str]) -> dict[str, Any]:
    """Return the cache's values for some names; log and skip unreadable ones."""
    try:
        return cache.get_many(names)
    except _UNREADABLE:
        return dict(_one_by_one(cache, names))


def _one_by_one(cache: BaseCache, names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    for name in names:
        try:
            value = cache.get(name)
        except _UNREADABLE as error:
            log_failure(f"the cache's value {name:.80} cannot be read", error)
        else:
            if value is not None:
                yield name, value
