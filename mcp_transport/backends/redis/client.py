"""The connection that all parts of the Redis backend share: a client for each event loop, keys and scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from mcp_transport.backends.codec import milliseconds
from mcp_transport.backends.redis.codec import decode_names
from mcp_transport.backends.redis.command_batcher import CommandBatcher
from mcp_transport.backends.redis.connection import connect, describe, is_cluster, key_prefix
from mcp_transport.backends.redis.keys import Keys, session_keys
from mcp_transport.backends.redis.scripts import load_scripts
from mcp_transport.domain.policy import Policy
from mcp_transport.supervision import attempt

__all__ = ["SESSION_PARTS", "RedisClient"]

SESSION_PARTS: Final = ("requests", "streams", "cancels", "state", "history", "subscriptions")
"""The keys beside a session's record, which expire with it."""


class RedisClient:
    """One Redis, Sentinel group or Cluster; `cache` is the Django cache alias with its address and options.

    Raises:
        ImproperlyConfigured: the alias has a wrong setting.
    """

    def __init__(self, policy: Policy, cache: Mapping[str, Any], *, cluster: bool | None = None) -> None:
        self.policy, self._cache, self._cluster = policy, cache, cluster
        self._name, self.is_cluster = describe(cache), is_cluster(cache, cluster)
        connect(cache, cluster=cluster)  # so that `manage.py check` reports a wrong setting
        self.keys = Keys(key_prefix(cache))
        self.scripts = load_scripts()
        self.ttl = milliseconds(policy.session_ttl)
        self.stream_keep = milliseconds(policy.stream_keep)
        # Connections belong to an event loop; a process may have several.
        self._batchers: dict[asyncio.AbstractEventLoop, CommandBatcher] = {}

    @property
    def batcher(self) -> CommandBatcher:
        """Return the command batcher of the running loop."""
        loop = asyncio.get_running_loop()
        if (batcher := self._batchers.get(loop)) is None:
            self._batchers = {each: item for each, item in self._batchers.items() if not each.is_closed()}
            batcher = self._batchers[loop] = CommandBatcher(connect(self._cache, cluster=self._cluster), self._name)
        return batcher

    def connect_inbox(self) -> Any:
        """Return a client of redis-py for commands that block for up to a third of the lease."""
        return connect(self._cache, blocking=self.policy.lease / 3, cluster=self._cluster)

    async def disconnect(self) -> None:
        """Close the connections of the running loop; the next command connects again."""
        batcher = self._batchers.pop(asyncio.get_running_loop(), None)
        if batcher is not None:
            await batcher.close()

    def execute(self, *command: Any) -> asyncio.Future[Any]:
        """Send one command; see `CommandBatcher.execute`."""
        return self.batcher.execute(*command)

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any] = ()) -> asyncio.Future[Any]:
        """Run a script; see `CommandBatcher.run`."""
        return self.batcher.run(self.scripts[script], keys, arguments)

    def run_in_session(
        self,
        script: str,
        key: str,
        parts: Sequence[str],
        arguments: Sequence[Any] = (),
        *,
        log: str = "",
        buckets: Sequence[str] = (),
        deferred: bool = False,
    ) -> asyncio.Future[Any]:
        """Run a script with the keys of a session's record, of `parts` beside it, of a log, and of `buckets`."""
        names = session_keys(self.keys.prefix, key)
        keys = [names["record"], *[names[part] for part in parts]]
        if log:
            keys.append(names["log"] + log)
        keys += buckets
        return self.batcher.run(self.scripts[script], keys, [self.ttl, *arguments], deferred=deferred)

    def store_times(self) -> asyncio.Future[Any]:
        """Send the script for the store's age: the times when it was last empty, and now, in milliseconds."""
        return self.run("store_created_at", [self.keys.store_created_at])

    def node_names(self) -> Awaitable[list[str]]:
        """Send the command for the names of all registered nodes. Raises, when awaited: BackendError."""
        return _names(self.execute("ZRANGE", self.keys.nodes, 0, -1))


async def _names(reply: Awaitable[Any]) -> list[str]:
    return decode_names(await attempt("the nodes cannot be read", reply, []))
