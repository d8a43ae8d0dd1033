"""The nodes that serve sessions: their leases, and the messages between them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from mcp_transport.backends.codec import milliseconds
from mcp_transport.backends.contracts import MAX_BROADCASTS
from mcp_transport.backends.leased_nodes import LeasedNodeBus
from mcp_transport.backends.membership import NodeStore, RunningStreams
from mcp_transport.backends.records import SessionCounts
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.node_store import RedisNodeStore, is_alive, journal_entry, send
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import attempt, suppress_and_log

__all__ = ["RedisNodeBus"]

# How long a node counts a session that it has served.
_SERVED_SECONDS: Final = 300.0

# How long sessions are counted after somebody has read how many there are.
_COUNT_SECONDS: Final = 600.0

# The digits of a time until the year 2286: after a later one, every new broadcast would count as delivered.
_MAX_TIME_DIGITS: Final = 13


class RedisNodeBus(LeasedNodeBus):
    """Runs the memberships of this process's nodes; `write_index` is called after each heartbeat."""

    def __init__(
        self, client: RedisClient, running: RunningStreams, write_index: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(running, client.policy.lease, self._count_and_write)
        self._client, self._keys, self._write_index = client, client.keys, write_index
        self._session_counts, self._counts_read_at = (0.0, SessionCounts()), -math.inf

    # -- nodes ---------------------------------------------------------------------------------------

    def _store_of(self, node: str) -> NodeStore:
        return RedisNodeStore(node, self._client)

    def _is_alive(self, node: str) -> Awaitable[bool]:
        return is_alive(self._client, node)

    async def stop(self, node: str) -> None:
        await super().stop(node)
        with suppress(BackendError):
            await self._write_index()

    async def _count_and_write(self) -> None:
        """Write the index; in its round trip count sessions, if metrics are read. Raises: BackendError."""
        if time.monotonic() - self._counts_read_at < _COUNT_SECONDS:
            self._send_counts()
        await self._write_index()

    def _send_counts(self) -> None:
        """Send the commands that count sessions."""
        run, keys = self._client.run, self._keys
        served = min(milliseconds(_SERVED_SECONDS), self._client.ttl)
        # The size of a range in an index, which Redis finds without reading the range.
        counts = [run("count_since", [keys.sessions], [self._client.ttl])]
        counts += [run("count_since", [keys.facet("node", name)], [served]) for name in list(self._members)]
        asyncio.gather(*counts, return_exceptions=True).add_done_callback(self._take_counts)

    def _take_counts(self, counted: asyncio.Future[list[Any]]) -> None:
        replies = [] if counted.cancelled() else counted.result()
        if replies and all(isinstance(reply, int) for reply in replies):
            counts = SessionCounts(total=replies[0], served=sum(replies[1:]))
            self._session_counts = time.monotonic(), counts

    def session_counts(self) -> SessionCounts:
        (counted_at, counts), now = self._session_counts, time.monotonic()
        self._counts_read_at = now
        # Rather unknown than outdated, as in an outage.
        return counts if now - counted_at <= self._client.policy.lease else SessionCounts()

    async def _node_names(self) -> Sequence[str]:
        return await self._client.node_names()

    async def _descriptions(self) -> Mapping[str, bytes]:
        names = await self._client.node_names()
        what, execute = "the lease of a node cannot be read", self._client.execute
        replies = [attempt(what, execute("GET", self._keys.lease(name)), None) for name in names]
        leases = zip(names, await asyncio.gather(*replies), strict=True)
        return {name: lease for name, lease in leases if lease is not None}

    async def _ages(self, names: Sequence[str]) -> Sequence[float]:
        ttls = await asyncio.gather(*(self._client.execute("PTTL", self._keys.lease(name)) for name in names))
        return [self._lease_seconds - ttl / 1000 for ttl in ttls]

    def strike_from_journal(self, node: str, key: str, stream: str) -> None:
        """Remove a stream from the journal of a dead node by a deferred command."""
        self._client.batcher.post("HDEL", self._keys.journal(node), journal_entry(key, stream))

    # -- messages ------------------------------------------------------------------------------------

    async def _send(self, node: str, message: NodeMessage) -> bool:
        return await send(self._client, node, message)

    async def _number(self, message: Broadcast) -> str:
        arguments = [self._client.stream_keep, MAX_BROADCASTS, message.method, message.uri]
        return _number(await self._client.run("broadcast", [self._keys.broadcasts], arguments))

    async def last_broadcast(self) -> str:
        newest = await self._read_broadcasts("XREVRANGE", self._keys.broadcasts, "+", "-", "COUNT", 1)
        return newest[0].number if newest else ""

    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        first = f"({_entry_id(after)}" if after else "-"
        return await self._read_broadcasts("XRANGE", self._keys.broadcasts, first, "+")

    async def _read_broadcasts(self, *command: Any) -> tuple[Broadcast, ...]:
        """Return stored broadcasts; log and skip unreadable ones. Raises: BackendError."""
        broadcasts = []
        for entry in await attempt("the broadcasts cannot be read", self._client.execute(*command), []):
            with suppress_and_log("a broadcast cannot be read"):
                broadcasts.append(_broadcast(*entry))
        return tuple(broadcasts)


def _number(raw: bytes) -> str:
    """Pad the entry id of a Redis stream so that ids sort as text. Raises: ValueError."""
    time, _, count = raw.decode().partition("-")
    if len(time) > _MAX_TIME_DIGITS:
        raise ValueError("the entry's time is after the year 2286")
    return f"{int(time):015d}-{int(count):05d}"


def _entry_id(number: str) -> str:
    time, _, count = number.partition("-")
    return f"{int(time)}-{int(count)}"


def _broadcast(number: bytes, members: Any) -> Broadcast:
    return Broadcast(members[b"method"].decode(), members[b"uri"].decode(), _number(number))
