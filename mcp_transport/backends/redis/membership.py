"""A node's life in Redis: its lease, its inbox, and the sweep after nodes that died."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from mcp_transport.backends.base import Deliver
from mcp_transport.backends.redis.codec import decode_message, encode_message, milliseconds
from mcp_transport.backends.redis.connection import is_store_error, recover
from mcp_transport.backends.redis.keys import Keys
from mcp_transport.backends.redis.pipeline import Pipeline
from mcp_transport.backends.redis.scripts import Script
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.inbox import LeaseLapsed, NodeLost, NodeMessage, Orphaned, StoreReturned

__all__ = ["Membership", "send"]

logger = logging.getLogger(__name__)

# An inbox holds at most this many messages and bytes; a flood of replies is refused, not stored.
_MAX_MESSAGES: Final = 10_000
_MAX_BYTES: Final = 64 * 1024 * 1024

# Messages are dropped from the inbox with the next beat, or after this many.
_TAKE: Final = 100
_TAKE_BYTES: Final = 1024 * 1024

# How long what a dead node left is kept for the sweep; milliseconds.
_KEEP: Final = 3_600_000

# How long messages wait for a node that seems gone; milliseconds.
_KEEP_FOR_GONE: Final = 60_000

# Seconds between two tries to reach a Redis that is away.
_PAUSE: Final = 0.5


class Membership:
    """One node among the others, from `start` to `stop`.

    One task reads the inbox and renews the lease: a node that no longer listens no longer lives.
    """

    def __init__(
        self,
        node: str,
        deliver: Deliver,
        *,
        pipeline: Pipeline,
        inbox: Any,
        keys: Keys,
        scripts: Mapping[str, Script],
        lease: float,
        told: Callable[[], Mapping[str, Any]],
        with_beat: Callable[[], Awaitable[None]],
    ) -> None:
        self.node, self._deliver = node, deliver
        self._pipeline, self._inbox, self._keys, self._scripts = pipeline, inbox, keys, scripts
        self._lease, self._told, self._with_beat = lease, told, with_beat
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._last_id, self._untaken, self._untaken_bytes = "0-0", 0, 0
        self._beaten_at = self._patient_until = self._loop.time()
        self._doubt = self._draining = False
        # Streams whose calls run here: as they are, and as the sweep after our death would find them.
        self.streams: set[tuple[str, str]] = set()
        self._noted: set[tuple[str, str]] = set()

    async def start(self) -> None:
        """Take a lease and begin to listen. Raises: BackendError."""
        await self._beat(first=True)
        self._task = self._loop.create_task(self._listen())

    async def stop(self) -> None:
        """Drop the lease, and everything that the others would otherwise wait for."""
        while self._task is not None and not self._task.done():
            # Again and again: a client that is just connecting may take the cancellation for its own timeout.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)
        await self._inbox.aclose()
        keys, node = self._keys, self.node
        mine = [keys.lease(node), keys.inbox(node), keys.waiting(node), keys.own(node)]
        with suppress(BackendError):
            await asyncio.gather(
                self._pipeline.execute("DEL", *mine), self._pipeline.execute("ZREM", keys.nodes, node)
            )

    async def retire(self) -> None:
        """Say with the lease that the node is about to be stopped. Raises: BackendError."""
        self._draining = True
        await self._beat()

    def may_judge(self) -> bool:
        """Tell whether this node has seen the store for long enough to take another one for dead."""
        return self._loop.time() >= self._patient_until

    async def be_patient(self, *, anew: bool = False) -> None:
        """Wait until this node may take another one for dead; `anew`, since the store has just come back."""
        if anew:
            self._patient_until = self._loop.time() + self._lease
        await asyncio.sleep(max(0.0, self._patient_until - self._loop.time()))

    def is_in_doubt(self) -> bool:
        """Tell whether this process stood still for so long that its lease may be over."""
        if self._loop.time() - self._beaten_at > self._lease * 0.9:
            self._doubt = True
        return self._doubt

    def receive(self, message: NodeMessage) -> None:
        """Hand a message to the node."""
        try:
            self._deliver(message)
        except Exception:
            logger.exception("node %s cannot take a %s", self.node, type(message).__name__)

    async def note(self, key: str, stream: str) -> None:
        """Note at once that a stream's calls run here. Raises: BackendError."""
        self._noted.add((key, stream))
        await self._pipeline.execute("HSET", self._keys.own(self.node), f"{key} {stream}", "")

    # -- the one task --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        away = False
        while True:
            try:
                await self._beat()
                if away:
                    logger.info("node %s sees Redis again", self.node)
                    self.receive(StoreReturned())
                    away = False
                until = self._beaten_at + self._lease / 3
                while (left := until - self._loop.time()) > 0:
                    await self._read(left)
            except Exception as error:
                if not isinstance(error, BackendError) and not is_store_error(error):
                    raise
                if not away:
                    logger.warning("node %s does not see Redis any more: %s", self.node, error)
                away = True
                await recover(self._inbox)
                await asyncio.sleep(_PAUSE)

    async def _read(self, seconds: float) -> None:
        block = max(1, milliseconds(seconds))
        found = await self._inbox.xread({self._keys.inbox(self.node): self._last_id}, count=_TAKE, block=block)
        for _, entries in found or ():
            for number, members in entries:
                self._last_id, raw = number.decode(), members[b"m"]
                self._untaken, self._untaken_bytes = self._untaken + 1, self._untaken_bytes + len(raw)
                if (message := decode_message(raw)) is not None:
                    self.receive(message)
        if self._untaken >= _TAKE or self._untaken_bytes >= _TAKE_BYTES:
            await self._take()

    async def _take(self) -> None:
        untaken_bytes, self._untaken, self._untaken_bytes = self._untaken_bytes, 0, 0
        keys = [self._keys.inbox(self.node), self._keys.waiting(self.node)]
        await self._pipeline.run(self._scripts["taken"], keys, [self._last_id, untaken_bytes])

    # -- the beat ------------------------------------------------------------------------------------

    async def _beat(self, *, first: bool = False) -> None:
        """Renew the lease, tell what is new, and look for nodes that did not. Raises: BackendError."""
        self.is_in_doubt()  # before the time of this beat hides how long ago the last one was
        self._beaten_at = self._loop.time()
        keys, node, lease = self._keys, self.node, milliseconds(self._lease)
        mine = [keys.lease(node), keys.inbox(node), keys.waiting(node), keys.own(node)]
        who = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "calls": len(self.streams),
            "draining": self._draining,
            **self._told(),
        }
        lapsed, dead, *_ = await asyncio.gather(
            self._pipeline.run(self._scripts["beat"], mine, [orjson.dumps(who), lease, _KEEP]),
            self._pipeline.run(self._scripts["nodes"], [keys.nodes], [node, lease]),
            self._note_streams(),
            *([self._take()] if self._untaken else []),
        )
        if lapsed and not first:
            self.receive(LeaseLapsed())
        self._doubt = False
        if lapsed:
            # Perhaps the store was away, or emptied, for everybody: the others have a lease's time to come back.
            self._patient_until = self._beaten_at + self._lease
        for name in dead:
            if name.decode() != node and self.may_judge():
                await self._sweep(name.decode())
        # Not before: until here nobody knows that the leases are gone, and takes the living for dead.
        await self._with_beat()

    async def _note_streams(self) -> None:
        begun, over = self.streams - self._noted, self._noted - self.streams
        self._noted = set(self.streams)
        own = self._keys.own(self.node)
        if begun:
            await self._pipeline.execute("HSET", own, *(word for item in begun for word in (" ".join(item), "")))
        if over:
            await self._pipeline.execute("HDEL", own, *(" ".join(item) for item in over))

    # -- other nodes' deaths -------------------------------------------------------------------------

    async def _sweep(self, dead: str) -> None:
        """Have the streams of a dead node taken over; of several nodes that notice, one does.

        A stream stays on the dead node's list until it was claimed, and the node on the list of nodes until
        nothing is left of it: should this node die meanwhile, the next one goes on.
        """
        keys, execute = self._keys, self._pipeline.execute
        if await execute("EXISTS", keys.lease(dead)):
            return
        if not await execute("SET", keys.sweep(dead), self.node, "NX", "PX", milliseconds(self._lease / 2)):
            return
        left, nodes = await asyncio.gather(execute("HKEYS", keys.own(dead)), execute("ZRANGE", keys.nodes, 0, -1))
        if not left:
            await asyncio.gather(
                execute("ZREM", keys.nodes, dead), execute("DEL", keys.inbox(dead), keys.waiting(dead))
            )
        logger.info("node %s left %d streams to take over", dead, len(left))
        for item in left:
            key, stream = item.decode().split(" ")
            self.receive(Orphaned(key, stream, dead))
        self.receive(NodeLost(dead))
        others = {name.decode() for name in nodes} - {dead, self.node}
        await asyncio.gather(*(self._tell(name, NodeLost(dead)) for name in others))

    async def _tell(self, node: str, message: NodeMessage) -> None:
        with suppress(BackendError):
            await send(self._pipeline, self._scripts, self._keys, node, message)


async def send(
    pipeline: Pipeline, scripts: Mapping[str, Script], keys: Keys, node: str, message: NodeMessage
) -> bool:
    """Put a message into a node's inbox; return False for a node that is gone.

    Raises: BackendError, also when too much waits there.
    """
    arguments = [encode_message(message), _MAX_MESSAGES, _MAX_BYTES, _KEEP_FOR_GONE]
    mine = [keys.lease(node), keys.inbox(node), keys.waiting(node)]
    taken = await pipeline.run(scripts["send"], mine, arguments)
    if taken < 0:
        raise BackendError(f"node {node} has too many messages waiting")
    return bool(taken)
