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
from mcp_transport.backends.redis.codec import decode_message, decode_names, encode_message, milliseconds
from mcp_transport.backends.redis.command_batcher import CommandBatcher
from mcp_transport.backends.redis.connection import recover
from mcp_transport.backends.redis.keys import Keys
from mcp_transport.backends.redis.scripts import Script
from mcp_transport.domain.node_messages import LeaseLapsed, NodeLost, NodeMessage, Orphaned, StoreReturned
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import Supervised, attempt, contained

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

# Seconds between two tries to reach a Redis that is away.
_LONGEST_PAUSE: Final = 1.0

# How long messages wait for a node that seems gone; milliseconds.
_KEEP_FOR_GONE: Final = 60_000


class Membership:
    """One node among the others, from `start` to `stop`.

    One task renews the lease and reads the inbox. Two more follow each beat, so that no message waits for them: one
    looks for nodes that died, one does what is due `with_beat`.
    """

    def __init__(
        self,
        node: str,
        deliver: Deliver,
        *,
        pipeline: CommandBatcher,
        inbox: Any,
        keys: Keys,
        scripts: Mapping[str, Script],
        lease: float,
        told: Callable[[], Mapping[str, Any]],
        with_beat: Callable[[], Awaitable[None]],
    ) -> None:
        self.node, self._deliver = node, deliver
        self._pipeline, self._inbox, self._keys, self._scripts = pipeline, inbox, keys, scripts
        self._lease, self._told = lease, told
        self._loop = asyncio.get_running_loop()
        self._last_id, self._untaken, self._untaken_bytes = "0-0", 0, 0
        self._beaten_at = self._due = self._patient_until = self._loop.time()
        self._doubt = self._draining = False
        # Streams whose calls run here: as they are, and as the sweep after our death would find them.
        self.streams: set[tuple[str, str]] = set()
        self._noted: set[tuple[str, str]] = set()
        self._followers = _Follower(self._look_after), _Follower(with_beat)
        self._listening = self._supervised("the inbox", self._listen)
        self._looking = self._supervised("the look after other nodes", self._followers[0].turn)
        self._writing = self._supervised("the index", self._followers[1].turn)

    def _supervised(self, what: str, turn: Callable[[], Awaitable[None]]) -> Supervised:
        # Shorter than the lease by far, or each failure would cost that, too.
        longest = min(_LONGEST_PAUSE, self._lease / 3)
        return Supervised(f"{what} of node {self.node}", turn, longest=longest)

    async def start(self) -> None:
        """Take a lease and begin to listen. Raises: BackendError."""
        await self._beat(first=True)
        await self._look_after()
        for task in (self._listening, self._looking, self._writing):
            task.start()

    async def stop(self) -> None:
        """Drop the lease, and everything that the others would otherwise wait for."""
        for task in (self._writing, self._looking, self._listening):
            await task.stop()
        await self._inbox.aclose()
        keys, node = self._keys, self.node
        mine = [keys.lease(node), keys.inbox(node), keys.waiting(node), keys.own(node)]
        with suppress(BackendError):
            await asyncio.gather(
                self._pipeline.execute("DEL", *mine), self._pipeline.execute("ZREM", keys.nodes, node)
            )

    def failure(self) -> BaseException | None:
        """Return why the node is not heard, or does not hear; None while it does."""
        return self._listening.failure or self._looking.failure

    async def announce_drain(self) -> None:
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

    def lease_may_be_lost(self) -> bool:
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
        """Renew the lease if that is due, and read the inbox until it is."""
        has_failed = self._listening.failure is not None
        try:
            if self._loop.time() >= self._due:
                await self._beat()
            # After a failure without waiting for messages: it shall be known soon that the node hears again.
            await self._read(0.0 if has_failed else self._due - self._loop.time())
        except Exception:
            await recover(self._inbox)
            raise
        if has_failed:
            self.receive(StoreReturned())

    async def _read(self, seconds: float) -> None:
        block = max(1, milliseconds(seconds))
        try:
            found = await self._inbox.xread({self._keys.inbox(self.node): self._last_id}, count=_TAKE, block=block)
        except Exception as error:
            raise self._pipeline.translated(error) from error
        for _, entries in found or ():
            for number, members in entries:
                self._last_id = number.decode()
                self._untaken += 1
                with contained(f"a message to node {self.node} cannot be read"):
                    self._untaken_bytes += len(members[b"m"])
                    if (message := decode_message(members[b"m"])) is not None:
                        self.receive(message)
        if self._untaken >= _TAKE or self._untaken_bytes >= _TAKE_BYTES:
            await self._take()

    async def _take(self) -> None:
        untaken_bytes, self._untaken, self._untaken_bytes = self._untaken_bytes, 0, 0
        keys = [self._keys.inbox(self.node), self._keys.waiting(self.node)]
        with contained(f"the inbox of node {self.node} cannot be emptied"):
            await self._pipeline.run(self._scripts["taken"], keys, [self._last_id, untaken_bytes])

    # -- the beat ------------------------------------------------------------------------------------

    async def _beat(self, *, first: bool = False) -> None:
        """Renew the lease, and tell what is new. Raises: BackendError."""
        self.lease_may_be_lost()  # before the time of this beat hides how long ago the last one was
        began = self._beaten_at = self._loop.time()
        keys, node = self._keys, self.node
        mine = [keys.lease(node), keys.inbox(node), keys.waiting(node), keys.own(node)]
        arguments = [self._description(), milliseconds(self._lease), _KEEP]
        lapsed, *_ = await asyncio.gather(
            self._pipeline.run(self._scripts["beat"], mine, arguments), *([self._take()] if self._untaken else [])
        )
        if lapsed and not first:
            self.receive(LeaseLapsed())
        if lapsed:
            # Perhaps the store was away, or emptied, for everybody: the others have a lease's time to come back.
            self._patient_until, self._noted = self._beaten_at + self._lease, set()
        self._doubt, self._due = False, began + self._lease / 3
        # Not before: until here nobody knows that the leases are gone, and takes the living for dead.
        for follower in self._followers:
            follower.beaten.set()

    def _description(self) -> bytes:
        """Return what others shall know of this node."""
        own: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "calls": len(self.streams),
            "draining": self._draining,
        }
        description = orjson.dumps(own)
        with contained(f"node {self.node} cannot tell what it has counted"):
            description = orjson.dumps({**own, **self._told()})
        return description

    async def _look_after(self) -> None:
        """Tell that this node lives, and which streams it writes; look for nodes that died. Raises: BackendError."""
        arguments = [self.node, milliseconds(self._lease)]
        listed = self._pipeline.run(self._scripts["nodes"], [self._keys.nodes], arguments)
        dead, _ = await asyncio.gather(
            attempt("the list of nodes cannot be read", listed, ()),
            self._note_streams(),
        )
        names = decode_names(dead)
        if len(names) < len(dead):
            strange = [name for name in dead if name.decode(errors="replace") not in names]
            await self._pipeline.execute("ZREM", self._keys.nodes, *strange)
        for name in names:
            if name != self.node and self.may_judge():
                with contained(f"node {self.node} cannot look after another one"):
                    await self._sweep(name)

    async def _note_streams(self) -> None:
        begun, over = self.streams - self._noted, self._noted - self.streams
        own, execute = self._keys.own(self.node), self._pipeline.execute
        with contained(f"the streams of node {self.node} cannot be noted"):
            if begun:
                await execute("HSET", own, *(word for item in begun for word in (" ".join(item), "")))
            if over:
                await execute("HDEL", own, *(" ".join(item) for item in over))
            self._noted = (self._noted | begun) - over

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
            if await execute("PTTL", keys.sweep(dead)) == -1:  # without an end nobody ever sweeps
                await execute("DEL", keys.sweep(dead))
            return
        left, nodes = await asyncio.gather(
            attempt(f"the streams of node {dead} cannot be read", execute("HKEYS", keys.own(dead)), ()),
            execute("ZRANGE", keys.nodes, 0, -1),
        )
        if not left:
            beside = [keys.inbox(dead), keys.waiting(dead), keys.own(dead)]
            await asyncio.gather(execute("ZREM", keys.nodes, dead), execute("DEL", *beside))
        logger.info("node %s left %d streams to take over", dead, len(left))
        for item in left:
            try:
                key, stream = item.decode().split(" ")
            except ValueError:  # nobody will claim it, and the node would stay on the list for ever
                await execute("HDEL", keys.own(dead), item)
            else:
                self.receive(Orphaned(key, stream, dead))
        self.receive(NodeLost(dead))
        others = set(decode_names(nodes)) - {dead, self.node}
        await asyncio.gather(*(self._tell(name, NodeLost(dead)) for name in others))

    async def _tell(self, node: str, message: NodeMessage) -> None:
        with suppress(BackendError):
            await send(self._pipeline, self._scripts, self._keys, node, message)


class _Follower:
    """Work that is done once after each beat."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work, self.beaten = work, asyncio.Event()

    async def turn(self) -> None:
        """Wait for the next beat, and do it. Raises: whatever the work raises."""
        await self.beaten.wait()
        self.beaten.clear()
        await self._work()


async def send(
    pipeline: CommandBatcher, scripts: Mapping[str, Script], keys: Keys, node: str, message: NodeMessage
) -> bool:
    """Put a message into a node's inbox; return False for a node that is gone.

    Raises: BackendError, also when too much waits there.
    """
    arguments = [encode_message(message), _MAX_MESSAGES, _MAX_BYTES, _KEEP_FOR_GONE]
    mine = [keys.lease(node), keys.inbox(node), keys.waiting(node)]
    try:
        taken = await pipeline.run(scripts["send"], mine, arguments)
    except Unreadable as error:  # which is no fault of the session that it is about
        raise BackendError(f"node {node} cannot be told: {error}") from error
    if taken < 0:
        raise BackendError(f"node {node} has too many messages waiting")
    return bool(taken)
