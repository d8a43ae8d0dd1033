"""The base of the Redis backend: a client for each event loop, scripts, and pending changes to indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final

from mcp_transport.backends.base import NodeBus, SessionIndex, SessionStore, StreamLog
from mcp_transport.backends.redis.codec import decode_names, milliseconds
from mcp_transport.backends.redis.command_batcher import CommandBatcher
from mcp_transport.backends.redis.connection import connect, describe, key_prefix
from mcp_transport.backends.redis.keys import Keys
from mcp_transport.backends.redis.membership import Membership
from mcp_transport.backends.redis.scripts import load_scripts
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session, short_id
from mcp_transport.exceptions import Unreadable
from mcp_transport.supervision import attempt, log_failure

__all__ = ["SESSION_PARTS", "RedisStore"]

SESSION_PARTS: Final = ("requests", "streams", "cancels", "state", "history", "subscriptions")
"""The keys beside a session's record, which expire with it."""

# How much longer than a session the indexes live, so that a sweep finds the session there.
_INDEX_MARGIN_SECONDS: Final = 3600.0


class RedisStore(SessionStore, StreamLog, NodeBus, SessionIndex):
    """The base of the backend; `cache` is the Django cache alias with Redis's address and options.

    Raises:
        ImproperlyConfigured: the alias has a wrong setting.
    """

    def __init__(self, policy: Policy, cache: Mapping[str, Any], *, cluster: bool | None = None) -> None:
        self._policy, self._cache, self._cluster = policy, cache, cluster
        self._name = describe(cache)
        connect(cache, cluster=cluster)  # so that `manage.py check` reports a wrong setting
        self._keys = Keys(key_prefix(cache))
        self._scripts = load_scripts()
        self._ttl = milliseconds(policy.session_ttl)
        self._stream_keep = milliseconds(policy.stream_keep)
        # Longer than any session in an index lives.
        self._index_ttl = milliseconds(policy.session_max_age + policy.lease + _INDEX_MARGIN_SECONDS)
        self.restores_sessions = policy.rehydrate
        # Clients belong to an event loop; a process may have several.
        self._pipelines: dict[asyncio.AbstractEventLoop, CommandBatcher] = {}
        self._members: dict[str, Membership] = {}
        # Changes that the next heartbeat writes into the indexes:
        # by session, its caller and the time of its last use here, in milliseconds;
        self._last_use: dict[str, tuple[str, int]] = {}
        # new sessions, and the sessions that each node has served;
        self._opened: dict[str, Session] = {}
        self._served: dict[str, set[str]] = {}
        # by order, the sessions' numbers of requests and errors, and the sessions that are initialized.
        self._counts: dict[str, dict[str, int]] = {"requests": {}, "errors": {}}
        self._initialized: set[str] = set()
        self._sweeps_until = 0.0

    # -- nodes ---------------------------------------------------------------------------------------

    async def disconnect(self) -> None:
        pipeline = self._pipelines.pop(asyncio.get_running_loop(), None)
        if pipeline is not None:
            await pipeline.close()

    # -- for subclasses ------------------------------------------------------------------------------

    def _pipeline(self) -> CommandBatcher:
        loop = asyncio.get_running_loop()
        if loop not in self._pipelines:
            self._pipelines = {each: item for each, item in self._pipelines.items() if not each.is_closed()}
            self._pipelines[loop] = CommandBatcher(connect(self._cache, cluster=self._cluster), self._name)
        return self._pipelines[loop]

    def _run(
        self,
        script: str,
        key: str,
        parts: Sequence[str],
        arguments: Sequence[Any],
        *,
        log: str = "",
        deferred: bool = False,
    ) -> asyncio.Future[Any]:
        """Run a script with the keys of a session's record, of some `parts` beside it, and of a stream's log."""
        keys = self._keys.of_session(key, *parts)
        if log:
            keys.append(self._keys.log(key, log))
        return self._pipeline().run(self._scripts[script], keys, [self._ttl, *arguments], deferred=deferred)

    def _node_names(self) -> Awaitable[list[str]]:
        """Send the command for the names of all registered nodes. Raises, when awaited: BackendError."""
        return _names(self._pipeline().execute("ZRANGE", self._keys.nodes, 0, -1))

    def _log_unreadable(self, key: str, error: Unreadable) -> None:
        """Log why a session counts as unknown from now on."""
        log_failure(f"session {short_id(key)} cannot be read, and is unknown", error)

    def _store_times(self) -> asyncio.Future[Any]:
        """Send the script for the store's age: the times when it was last empty, and now, in milliseconds."""
        return self._pipeline().run(self._scripts["store_created_at"], [self._keys.store_created_at], [])

    def _record_use(self, session: Session, node: str) -> Session:
        self._served.setdefault(node, set()).add(session.key)
        self._record_last_use(session.key, session.caller, milliseconds(session.last_seen))
        self._counts["requests"][session.key] = session.requests
        return session

    def _record_last_use(self, key: str, caller: str, used_at: int) -> None:
        """Let the next heartbeat write into the indexes that a session was used."""
        self._last_use[key] = (caller, used_at)

    async def _write_last_use(self) -> None:
        """Write into the indexes when sessions were last used here. Raises: BackendError."""
        used = list(self._last_use.items())
        self._last_use.clear()
        by_index: dict[str, list[Any]] = {}
        for key, (caller, used_at) in used:
            for index in (self._keys.sessions_of(caller), self._keys.sessions):
                by_index.setdefault(index, []).extend((used_at, key))
        commands = [
            command
            for index, members in by_index.items()
            for command in (("ZADD", index, "XX", *members), ("PEXPIRE", index, self._ttl_of(index)))
        ]
        await self._execute_each(commands)

    async def _execute_each(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Send commands for indexes; log the failure of each, so that it affects no other. Raises: BackendError."""
        execute = self._pipeline().execute
        sent = [(f"the index {command[1]} cannot be written", execute(*command)) for command in commands]
        await asyncio.gather(*(attempt(what, answer, None) for what, answer in sent))

    def _ttl_of(self, index: str) -> int:
        """Return the TTL of an index in milliseconds; that of all sessions outlives every session."""
        return self._index_ttl if index == self._keys.sessions else self._ttl + milliseconds(self._policy.lease)

    def forget(self, key: str) -> None:
        for member in self._members.values():
            member.streams = {item for item in member.streams if item[0] != key}

    def _remove_stream(self, key: str, stream: str) -> None:
        for member in self._members.values():
            member.streams.discard((key, stream))


async def _names(reply: Awaitable[Any]) -> list[str]:
    return decode_names(await attempt("the nodes cannot be read", reply, []))
