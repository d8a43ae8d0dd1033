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
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.inbox import Broadcast, NodeMessage
from mcp_transport.protocol.measures import Numbers

__all__ = ["RedisBackend"]

# Broadcasts that are kept for sessions no node holds.
_MAX_BROADCASTS: Final = 1000


class RedisBackend(RedisSessions, RedisStreams):
    """Everything in one Redis, Sentinel group or Cluster."""

    supports_listing = True
    shares_sessions = True
    shares_streams = True
    _named: tuple[int, str] | None = None

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

    async def retire(self, node: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.retire()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        leases = await self._leases()
        left = await asyncio.gather(*(self._pipeline().execute("PTTL", self._keys.lease(name)) for name in leases))
        return tuple(
            NodeRecord(
                name,
                host=lease["host"],
                pid=lease["pid"],
                calls=lease["calls"],
                draining=lease["draining"],
                age=max(0.0, self._policy.lease - rest / 1000),
            )
            for (name, lease), rest in zip(leases.items(), left, strict=True)
        )

    async def numbers(self) -> tuple[Numbers, ...]:
        by_process = {lease["process"]: lease["numbers"] for lease in (await self._leases()).values()}
        return tuple(Numbers.from_json(counted) for counted in by_process.values())

    async def _leases(self) -> dict[str, Any]:
        """Return what each living node tells with its lease."""
        execute = self._pipeline().execute
        names = [name.decode() for name in await execute("ZRANGE", self._keys.nodes, 0, -1)]
        leases = await asyncio.gather(*(execute("GET", self._keys.lease(name)) for name in names))
        return {name: orjson.loads(lease) for name, lease in zip(names, leases, strict=True) if lease}

    def is_in_doubt(self, node: str) -> bool:
        member = self._members.get(node)
        return member is not None and member.is_in_doubt()

    async def send(self, node: str, message: NodeMessage) -> bool:
        if (member := self._members.get(node)) is not None:
            member.receive(message)
            return True
        return await membership.send(self._pipeline(), self._scripts, self._keys, node, message)

    async def broadcast(self, message: Broadcast) -> None:
        arguments = [self._keep, _MAX_BROADCASTS, message.method, message.uri]
        run = self._pipeline().run(self._scripts["broadcast"], [self._keys.bus], arguments)
        number, nodes = await asyncio.gather(run, self._pipeline().execute("ZRANGE", self._keys.nodes, 0, -1))
        numbered = Broadcast(message.method, message.uri, _number(number))
        sent = [self.send(name.decode(), numbered) for name in nodes]
        # A node that cannot be told finds the broadcast when one of its streams is opened again.
        await asyncio.gather(*sent, return_exceptions=True)

    async def last_broadcast(self) -> str:
        found = await self._pipeline().execute("XREVRANGE", self._keys.bus, "+", "-", "COUNT", 1)
        return _number(found[0][0]) if found else ""

    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        start = f"({_short(after)}" if after else "-"
        found = await self._pipeline().execute("XRANGE", self._keys.bus, start, "+")
        return tuple(_broadcast(number, members) for number, members in found)


def _number(raw: bytes) -> str:
    """Write a stream's entry id so that ids compare as text."""
    time, _, count = raw.decode().partition("-")
    return f"{int(time):015d}-{int(count):05d}"


def _short(number: str) -> str:
    time, _, count = number.partition("-")
    return f"{int(time)}-{int(count)}"


def _broadcast(number: bytes, members: Any) -> Broadcast:
    return Broadcast(members[b"method"].decode(), members[b"uri"].decode(), _number(number))
