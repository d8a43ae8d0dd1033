"""The Redis backend: sessions, streams, and the nodes that serve them."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from typing import Any, Final

import orjson

from mcp_transport.backends.base import Deliver, Measure, NodeRecord
from mcp_transport.backends.redis import membership
from mcp_transport.backends.redis.connection import connect
from mcp_transport.backends.redis.membership import Membership
from mcp_transport.backends.redis.sessions import RedisSessions
from mcp_transport.backends.redis.streams import RedisStreams
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import attempt, suppress_and_log

__all__ = ["RedisBackend"]

# Broadcasts that are stored for sessions without a holder.
_MAX_BROADCASTS: Final = 1000
# The digits of a time until the year 2286: after a later one, every new broadcast would count as delivered.
_MAX_TIME_DIGITS: Final = 13


class RedisBackend(RedisSessions, RedisStreams):
    """Stores everything in one Redis, Sentinel group or Cluster."""

    shares_sessions = True
    shares_streams = True
    keeps_answers = True
    _measure: Measure = ProcessMetrics
    _process_name: tuple[int, str] | None = None

    # -- nodes ---------------------------------------------------------------------------------------

    async def start(self, node: str, deliver: Deliver, measure: Measure = ProcessMetrics) -> None:
        self._measure = measure
        member = Membership(
            node,
            deliver,
            pipeline=self._pipeline(),
            inbox=connect(self._cache, blocking=self._policy.lease / 3, cluster=self._cluster),
            keys=self._keys,
            scripts=self._scripts,
            lease=self._policy.lease,
            process_info=self._process_info,
            after_heartbeat=self._update_indexes,
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
                await self._update_indexes()

    async def _update_indexes(self) -> None:
        """Write the changes to indexes that requests have left to the next heartbeat. Raises: BackendError."""
        await self._write_last_use()
        await self._write_index()

    def _process_info(self) -> dict[str, Any]:
        """Return the process' name and metrics, which the node of each loop writes into its lease."""
        if self._process_name is None or self._process_name[0] != os.getpid():  # a fork needs another name
            self._process_name = os.getpid(), secrets.token_hex(6)
        return {"process": self._process_name[1], "numbers": self._measure().to_json()}

    async def ping(self) -> None:
        await self._pipeline().execute("EXISTS", self._keys.store_created_at)

    def failure(self, node: str) -> BaseException | None:
        member = self._members.get(node)
        return member.failure() if member is not None else None

    async def announce_drain(self, node: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.announce_drain()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        leases = await self._leases()
        ttls = await asyncio.gather(*(self._pipeline().execute("PTTL", self._keys.lease(name)) for name in leases))
        records = []
        for (name, lease), ttl in zip(leases.items(), ttls, strict=True):
            with suppress_and_log("the lease of a node cannot be read"):
                records.append(_node(name, lease, max(0.0, self._policy.lease - ttl / 1000)))
        return tuple(records)

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        by_process = {}
        for lease in (await self._leases()).values():
            with suppress_and_log("the metrics of a node cannot be read"):
                by_process[lease["process"]] = ProcessMetrics.from_json(lease["numbers"])
        return tuple(by_process.values())

    async def _leases(self) -> dict[str, Any]:
        """Return the lease of each live node, decoded."""
        names = await self._node_names()
        what, execute = "the lease of a node cannot be read", self._pipeline().execute
        replies = [attempt(what, execute("GET", self._keys.lease(name)), None) for name in names]
        leases = {}
        for name, lease in zip(names, await asyncio.gather(*replies), strict=True):
            with suppress_and_log(what):
                if lease is not None:
                    leases[name] = orjson.loads(lease)
        return leases

    def lease_may_be_lost(self, node: str) -> bool:
        member = self._members.get(node)
        return member is not None and member.lease_may_be_lost()

    async def send(self, node: str, message: NodeMessage) -> bool:
        if (member := self._members.get(node)) is not None:
            member.receive(message)
            return True
        return await membership.send(self._pipeline(), self._scripts, self._keys, node, message)

    async def broadcast(self, message: Broadcast) -> None:
        arguments = [self._stream_keep, _MAX_BROADCASTS, message.method, message.uri]
        run = self._pipeline().run(self._scripts["broadcast"], [self._keys.broadcasts], arguments)
        number, names = await asyncio.gather(run, self._node_names())
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
        for entry in await attempt("the broadcasts cannot be read", self._pipeline().execute(*command), []):
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
    )
