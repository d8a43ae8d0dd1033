"""The backend: sessions, streams, and the nodes that serve them."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from typing import Any, Final

import orjson

from mcp_transport.backends.base import Deliver, NodeRecord
from mcp_transport.backends.redis import membership
from mcp_transport.backends.redis.connection import connect
from mcp_transport.backends.redis.membership import Membership
from mcp_transport.backends.redis.sessions import RedisSessions
from mcp_transport.backends.redis.streams import RedisStreams
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import attempt, contained

__all__ = ["RedisBackend"]

# Broadcasts that are kept for sessions no node holds.
_MAX_BROADCASTS: Final = 1000
# The digits of a time until the year 2286: behind a later one no broadcast would ever be heard.
_MAX_DIGITS: Final = 13


class RedisBackend(RedisSessions, RedisStreams):
    """Everything in one Redis, Sentinel group or Cluster."""

    supports_listing = True
    shares_sessions = True
    shares_streams = True
    _named: tuple[int, str] | None = None

    @property
    def keeps_answers(self) -> bool:
        return True

    # -- nodes ---------------------------------------------------------------------------------------

    async def start(self, node: str, deliver: Deliver) -> None:
        member = Membership(
            node,
            deliver,
            pipeline=self._pipeline(),
            inbox=connect(self._cache, blocking=self._policy.lease / 3, cluster=self._cluster),
            keys=self._keys,
            scripts=self._scripts,
            lease=self._policy.lease,
            told=self._told,
            with_beat=self._write_books,
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
                await self._write_books()

    async def _write_books(self) -> None:
        """Write what requests have left to be written with the beat. Raises: BackendError."""
        await self._write_use()
        await self._write_index()

    def _told(self) -> dict[str, Any]:
        """Return what others shall know of this process, of which each loop's node tells with its lease."""
        if self._named is None or self._named[0] != os.getpid():  # a forked one has another name
            self._named = os.getpid(), secrets.token_hex(6)
        return {"process": self._named[1], "numbers": self.measure().to_json()}

    async def ping(self) -> None:
        await self._pipeline().execute("EXISTS", self._keys.born)

    def failure(self, node: str) -> BaseException | None:
        member = self._members.get(node)
        return member.failure() if member is not None else None

    async def announce_drain(self, node: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.announce_drain()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        leases = await self._leases()
        left = await asyncio.gather(*(self._pipeline().execute("PTTL", self._keys.lease(name)) for name in leases))
        found = []
        for (name, lease), rest in zip(leases.items(), left, strict=True):
            with contained("the lease of a node cannot be read"):
                found.append(_node(name, lease, max(0.0, self._policy.lease - rest / 1000)))
        return tuple(found)

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        by_process = {}
        for lease in (await self._leases()).values():
            with contained("what a node has counted cannot be read"):
                by_process[lease["process"]] = ProcessMetrics.from_json(lease["numbers"])
        return tuple(by_process.values())

    async def _leases(self) -> dict[str, Any]:
        """Return what each living node tells with its lease."""
        names = await self._node_names()
        what, execute = "the lease of a node cannot be read", self._pipeline().execute
        asked = [attempt(what, execute("GET", self._keys.lease(name)), None) for name in names]
        leases = {}
        for name, lease in zip(names, await asyncio.gather(*asked), strict=True):
            with contained(what):
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
        arguments = [self._keep, _MAX_BROADCASTS, message.method, message.uri]
        run = self._pipeline().run(self._scripts["broadcast"], [self._keys.bus], arguments)
        number, names = await asyncio.gather(run, self._node_names())
        numbered = Broadcast(message.method, message.uri, _number(number))
        sent = [self.send(name, numbered) for name in names]
        # A node that cannot be told finds the broadcast when one of its streams is opened again.
        await asyncio.gather(*sent, return_exceptions=True)

    async def last_broadcast(self) -> str:
        found = await self._read_broadcasts("XREVRANGE", self._keys.bus, "+", "-", "COUNT", 1)
        return found[0].number if found else ""

    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        return await self._read_broadcasts("XRANGE", self._keys.bus, f"({_short(after)}" if after else "-", "+")

    async def _read_broadcasts(self, *command: Any) -> tuple[Broadcast, ...]:
        """Return broadcasts that are kept, as far as they can be read. Raises: BackendError."""
        found = []
        for entry in await attempt("the broadcasts cannot be read", self._pipeline().execute(*command), []):
            with contained("a broadcast cannot be read"):
                found.append(_broadcast(*entry))
        return tuple(found)


def _number(raw: bytes) -> str:
    """Write a stream's entry id so that ids compare as text. Raises: ValueError."""
    time, _, count = raw.decode().partition("-")
    if len(time) > _MAX_DIGITS:
        raise ValueError("no time of this age")
    return f"{int(time):015d}-{int(count):05d}"


def _short(number: str) -> str:
    time, _, count = number.partition("-")
    return f"{int(time)}-{int(count)}"


def _broadcast(number: bytes, members: Any) -> Broadcast:
    return Broadcast(members[b"method"].decode(), members[b"uri"].decode(), _number(number))


def _node(name: str, lease: Any, age: float) -> NodeRecord:
    """Read what a node tells of itself. Raises: whatever is wrong with it."""
    return NodeRecord(
        name,
        host=str(lease["host"]),
        pid=int(lease["pid"]),
        calls=int(lease["calls"]),
        draining=bool(lease["draining"]),
        age=age,
    )
