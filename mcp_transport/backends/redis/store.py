"""What everything in Redis goes through: a client for each event loop, scripts, and the indexes of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final

from mcp_transport.backends.base import Backend
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

__all__ = ["BESIDE", "RedisStore"]

BESIDE: Final = ("flights", "streams", "cancels", "state", "history", "subscriptions")
"""The parts of a session that stand beside its record and live as long."""


# How much longer than a session the indexes are kept, so that a sweep finds it there: seconds.
_GRACE: Final = 3600.0


class RedisStore(Backend):
    """The ground of the backend; `cache` is the Django cache alias that says where Redis is.

    Raises:
        ImproperlyConfigured: the alias cannot be read.
    """

    def __init__(self, policy: Policy, cache: Mapping[str, Any], *, cluster: bool | None = None) -> None:
        self._policy, self._cache, self._cluster = policy, cache, cluster
        self._name = describe(cache)
        connect(cache, cluster=cluster)  # what it cannot read, `manage.py check` is to say
        self._keys = Keys(key_prefix(cache))
        self._scripts = load_scripts()
        self._ttl = milliseconds(policy.session_ttl)
        self._keep = milliseconds(policy.stream_keep)
        # No session that is in an index lives longer.
        self._kept = milliseconds(policy.session_max_age + policy.lease + _GRACE)
        self.restores_sessions = policy.rehydrate
        # Clients belong to an event loop; a process may serve from several.
        self._pipelines: dict[asyncio.AbstractEventLoop, CommandBatcher] = {}
        self._members: dict[str, Membership] = {}
        # When sessions were last used here, by key, and by whom.
        self._used: dict[str, tuple[str, int]] = {}
        # What the index is to be told with the next beat: new sessions, and those that each node has served.
        self._opened: dict[str, Session] = {}
        self._served: dict[str, set[str]] = {}
        # How many requests and errors they have, by what they are ordered by, and those that are initialized.
        self._counts: dict[str, dict[str, int]] = {"requests": {}, "errors": {}}
        self._initialized: set[str] = set()
        self._sweeps_until = 0.0

    # -- nodes ---------------------------------------------------------------------------------------

    async def disconnect(self) -> None:
        pipeline = self._pipelines.pop(asyncio.get_running_loop(), None)
        if pipeline is not None:
            await pipeline.close()

    # -- for the parts of the backend ----------------------------------------------------------------

    def _pipeline(self) -> CommandBatcher:
        loop = asyncio.get_running_loop()
        if loop not in self._pipelines:
            self._pipelines = {known: item for known, item in self._pipelines.items() if not known.is_closed()}
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
        behind: bool = False,
    ) -> asyncio.Future[Any]:
        """Run a script on a session: its record, the named parts beside it and, at the end, a stream's log."""
        keys = self._keys.of_session(key, *parts)
        if log:
            keys.append(self._keys.log(key, log))
        return self._pipeline().run(self._scripts[script], keys, [self._ttl, *arguments], behind=behind)

    def _node_names(self) -> Awaitable[list[str]]:
        """Ask at once for the nodes on the list, as far as that can be read. Raises, when awaited: BackendError."""
        return _names(self._pipeline().execute("ZRANGE", self._keys.nodes, 0, -1))

    def _log_unreadable(self, key: str, error: Unreadable) -> None:
        """Log why a session is unknown from now on, to its client as to everybody."""
        log_failure(f"session {short_id(key)} cannot be read, and is unknown", error)

    def _born(self) -> asyncio.Future[Any]:
        """Ask since when the store has not been emptied, and for the time; both in milliseconds."""
        return self._pipeline().run(self._scripts["born"], [self._keys.born], [])

    def _seen(self, session: Session, node: str) -> Session:
        self._served.setdefault(node, set()).add(session.key)
        self._note_use(session.key, session.caller, milliseconds(session.last_seen))
        self._counts["requests"][session.key] = session.requests
        return session

    def _note_use(self, key: str, caller: str, seen: int) -> None:
        """Have the indexes learn with the next beat that a session was used."""
        self._used[key] = (caller, seen)

    async def _write_use(self) -> None:
        """Write to the indexes when sessions were last used here. Raises: BackendError."""
        used = list(self._used.items())
        self._used.clear()
        by_index: dict[str, list[Any]] = {}
        for key, (caller, seen) in used:
            for index in (self._keys.owned(caller), self._keys.sessions):
                by_index.setdefault(index, []).extend((seen, key))
        commands = [
            command
            for index, members in by_index.items()
            for command in (("ZADD", index, "XX", *members), ("PEXPIRE", index, self._life_of(index)))
        ]
        await self._execute_each(commands)

    async def _execute_each(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Send commands to indexes, each on its own: one that cannot be read costs no other. Raises: BackendError."""
        execute = self._pipeline().execute
        sent = [(f"the index {command[1]} cannot be written", execute(*command)) for command in commands]
        await asyncio.gather(*(attempt(what, answer, None) for what, answer in sent))

    def _life_of(self, index: str) -> int:
        """Return for how many milliseconds an index is kept: that of all sessions longer than any of them."""
        return self._kept if index == self._keys.sessions else self._ttl + milliseconds(self._policy.lease)

    def forget(self, key: str) -> None:
        for member in self._members.values():
            member.streams = {place for place in member.streams if place[0] != key}

    def _over(self, key: str, stream: str) -> None:
        for member in self._members.values():
            member.streams.discard((key, stream))


async def _names(listed: Awaitable[Any]) -> list[str]:
    return decode_names(await attempt("the list of nodes cannot be read", listed, []))
