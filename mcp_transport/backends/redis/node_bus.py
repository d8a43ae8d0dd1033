"""The nodes that serve sessions: their leases, and the messages between them."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import orjson

from mcp_transport.backends.codec import milliseconds
from mcp_transport.backends.contracts import MAX_BROADCASTS, Deliver, Measure, NodeBus
from mcp_transport.backends.records import NodeRecord, SessionCounts
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.membership import Membership, journal_entry, send
from mcp_transport.backends.redis.pending import RunningStreams
from mcp_transport.domain.metrics import Load, ProcessMetrics
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


class RedisNodeBus(NodeBus):
    """Runs the memberships of this process's nodes; `after_heartbeat` is called after each heartbeat."""

    def __init__(
        self, client: RedisClient, running: RunningStreams, after_heartbeat: Callable[[], Awaitable[None]]
    ) -> None:
        self._client, self._keys, self._running = client, client.keys, running
        self._after_heartbeat = after_heartbeat
        self._members: dict[str, Membership] = {}
        self._measure: Measure = ProcessMetrics
        self._session_counts, self._counts_read_at = (0.0, SessionCounts()), -math.inf
        self._process_name: tuple[int, str] | None = None

    # -- nodes ---------------------------------------------------------------------------------------

    async def start(self, node: str, deliver: Deliver, measure: Measure = ProcessMetrics) -> None:
        self._measure = measure
        member = Membership(
            node, deliver, self._client, self._running, self._process_info, after_heartbeat=self._count_and_write
        )
        try:
            await member.start()
        except BaseException:
            await member.stop()
            raise
        self._members[node] = member

    async def stop(self, node: str) -> None:
        member = self._members.pop(node, None)
        if member is not None:
            await member.stop()
            with suppress(BackendError):
                await self._after_heartbeat()

    def _process_info(self) -> dict[str, Any]:
        """Return the process' name and metrics, which the node of each loop writes into its lease."""
        if self._process_name is None or self._process_name[0] != os.getpid():  # a fork needs another name
            self._process_name = os.getpid(), secrets.token_hex(6)
        return {"process": self._process_name[1], "numbers": self._measure().to_json()}

    async def _count_and_write(self) -> None:
        """Call `after_heartbeat`; in its round trip count sessions, if metrics are read. Raises: BackendError."""
        if time.monotonic() - self._counts_read_at < _COUNT_SECONDS:
            self._send_counts()
        await self._after_heartbeat()

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

    def failure(self, node: str) -> BaseException | None:
        member = self._members.get(node)
        return member.failure() if member is not None else None

    async def announce_drain(self, node: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.announce_drain()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        leases = await self._leases()
        ttls = await asyncio.gather(*(self._client.execute("PTTL", self._keys.lease(name)) for name in leases))
        records = []
        for (name, lease), ttl in zip(leases.items(), ttls, strict=True):
            with suppress_and_log("the lease of a node cannot be read"):
                records.append(_node(name, lease, max(0.0, self._client.policy.lease - ttl / 1000)))
        return tuple(records)

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        by_process = {}
        for lease in (await self._leases()).values():
            with suppress_and_log("the metrics of a node cannot be read"):
                by_process[lease["process"]] = ProcessMetrics.from_json(lease["numbers"])
        return tuple(by_process.values())

    async def _leases(self) -> dict[str, Any]:
        """Return the lease of each live node, decoded."""
        names = await self._client.node_names()
        what, execute = "the lease of a node cannot be read", self._client.execute
        replies = [attempt(what, execute("GET", self._keys.lease(name)), None) for name in names]
        leases = {}
        for name, lease in zip(names, await asyncio.gather(*replies), strict=True):
            with suppress_and_log(what):
                if lease is not None:
                    leases[name] = orjson.loads(lease)
        return leases

    def lease_may_be_lost(self, node: str) -> bool:
        member = self._members.get(node)
        return member is not None and asyncio.get_running_loop().time() > member.lease.held_until

    async def is_dead(self, node: str, by: str) -> bool:
        """Return whether a node's lease has expired, rather than all leases in an outage or by emptying the store.

        `by` is the node that asks, which may be too new to tell, and then waits.
        """
        execute, member = self._client.execute, self._members.get(by)
        if member is None:
            return not await execute("EXISTS", self._keys.lease(node))
        while True:
            own, other = await asyncio.gather(*(execute("EXISTS", self._keys.lease(name)) for name in (by, node)))
            if other:
                return False
            if own and member.may_declare_dead():
                return True
            await member.wait_for_grace(restart=not own)

    async def journal_at_once(self, node: str, key: str, stream: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.journal(key, stream)

    def strike_from_journal(self, node: str, key: str, stream: str) -> None:
        """Remove a stream from the journal of a dead node by a deferred command."""
        self._client.batcher.post("HDEL", self._keys.journal(node), journal_entry(key, stream))

    # -- messages ------------------------------------------------------------------------------------

    async def send(self, node: str, message: NodeMessage) -> bool:
        if (member := self._members.get(node)) is not None:
            member.receive(message)
            return True
        return await send(self._client, node, message)

    async def broadcast(self, message: Broadcast) -> None:
        arguments = [self._client.stream_keep, MAX_BROADCASTS, message.method, message.uri]
        run = self._client.run("broadcast", [self._keys.broadcasts], arguments)
        number, names = await asyncio.gather(run, self._client.node_names())
        numbered = Broadcast(message.method, message.uri, _number(number))
        sent = [self.send(name, numbered) for name in names]
        # A node that cannot be reached reads the broadcast when one of its streams is opened again.
        await asyncio.gather(*sent, return_exceptions=True)

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


def _node(name: str, lease: Any, age: float) -> NodeRecord:
    """Decode a node's lease. Raises: any exception for an unreadable one."""
    return NodeRecord(
        name,
        host=str(lease["host"]),
        pid=int(lease["pid"]),
        calls=int(lease["calls"]),
        draining=bool(lease["draining"]),
        age=age,
        # Absent if the node could not report its metrics; without the load in the previous release.
        load=Load.from_json(lease.get("numbers", {}).get("load", (0, 0, 0, 0))),
    )
