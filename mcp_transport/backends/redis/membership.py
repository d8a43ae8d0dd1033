"""A node's membership: its lease, its inbox, and the sweep of dead nodes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from mcp_transport.backends.codec import decode_message, encode_message, milliseconds
from mcp_transport.backends.contracts import Deliver
from mcp_transport.backends.lease import Lease
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.codec import decode_names
from mcp_transport.backends.redis.connection import recover
from mcp_transport.backends.redis.pending import RunningStreams
from mcp_transport.domain.node_messages import LeaseLapsed, NodeLost, NodeMessage, Orphaned, StoreReturned
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import Supervised, attempt, suppress_and_log

__all__ = ["Membership", "journal_entry", "send"]

logger = logging.getLogger(__name__)

# The size of an inbox, in messages and bytes; beyond it, messages are refused.
_MAX_MESSAGES: Final = 10_000
_MAX_BYTES: Final = 64 * 1024 * 1024

# Messages are removed from the inbox with the next heartbeat, or after so many messages or bytes.
_ACK_MESSAGES: Final = 100
_ACK_BYTES: Final = 1024 * 1024

# How long the inbox and the journal of a dead node are stored for the sweep.
_KEEP_MILLISECONDS: Final = 3_600_000

# The longest pause between two attempts to reach Redis during an outage.
_MAX_RETRY_SECONDS: Final = 1.0

# How long messages are stored for a node whose lease has expired.
_INBOX_KEEP_MILLISECONDS: Final = 60_000


class Membership:
    """The membership of one node, from `start` to `stop`.

    One task renews the lease and reads the inbox. Two more run once after each heartbeat, so that messages need not
    wait for them: one looks for dead nodes, one runs `after_heartbeat`.
    """

    def __init__(
        self,
        node: str,
        deliver: Deliver,
        client: RedisClient,
        running: RunningStreams,
        process_info: Callable[[], Mapping[str, Any]],
        *,
        after_heartbeat: Callable[[], Awaitable[None]],
    ) -> None:
        self.node, self._deliver = node, deliver
        self._client, self._keys, self._inbox = client, client.keys, client.connect_inbox()
        self._lease_seconds, self._process_info = client.policy.lease, process_info
        self._loop = asyncio.get_running_loop()
        self.lease = Lease(client.policy.lease, self._loop.time())
        self._last_id, self._unacked, self._unacked_bytes = "0-0", 0, 0
        self._draining = False
        # The streams in the journal, which a sweep would read.
        self._running, self._journaled = running, set[tuple[str, str]]()
        self._followers = _AfterHeartbeat(self._check_nodes), _AfterHeartbeat(after_heartbeat)
        self._inbox_task = self._supervised("the inbox", self._listen)
        self._check_task = self._supervised("the check of other nodes", self._followers[0].run_once)
        self._index_task = self._supervised("the index", self._followers[1].run_once)

    def _supervised(self, what: str, turn: Callable[[], Awaitable[None]]) -> Supervised:
        # Much shorter than the lease, or each failure would also lose the lease.
        pause = min(_MAX_RETRY_SECONDS, self._lease_seconds / 3)
        return Supervised(f"{what} of node {self.node}", turn, max_pause=pause)

    async def start(self) -> None:
        """Acquire a lease, and start the tasks. Raises: BackendError."""
        await self._heartbeat(first=True)
        await self._check_nodes()
        for task in (self._inbox_task, self._check_task, self._index_task):
            task.start()

    async def stop(self) -> None:
        """Delete the lease, the inbox and the journal, so that other nodes need not wait for the lease to expire."""
        for task in (self._index_task, self._check_task, self._inbox_task):
            await task.stop()
        await self._inbox.aclose()
        keys, node, execute = self._keys, self.node, self._client.execute
        own_keys = [keys.lease(node), keys.inbox(node), keys.inbox_bytes(node), keys.journal(node)]
        try:
            with suppress(BackendError):
                await asyncio.gather(execute("DEL", *own_keys), execute("ZREM", keys.nodes, node))
        finally:  # `Node.stop` does not wait for ever
            for stream in self._streams():
                self._running.pop(stream, None)

    def failure(self) -> BaseException | None:
        """Return why the node cannot renew its lease, read its inbox or check other nodes; None if it can."""
        return self._inbox_task.failure or self._check_task.failure

    async def announce_drain(self) -> None:
        """Write into the lease that the node is about to stop. Raises: BackendError."""
        self._draining = True
        await self._heartbeat()

    def may_declare_dead(self) -> bool:
        """Return whether this node may trust that a lapsed lease is a death."""
        return self.lease.may_declare_dead(self._loop.time())

    async def wait_for_grace(self, *, restart: bool = False) -> None:
        """Wait until this node may declare another node dead; with `restart`, for a whole lease from now on."""
        await asyncio.sleep(self.lease.grace_left(self._loop.time(), restart=restart))

    def receive(self, message: NodeMessage) -> None:
        """Deliver a message to the node."""
        try:
            self._deliver(message)
        except Exception:
            logger.exception("node %s cannot process a %s message", self.node, type(message).__name__)

    async def journal(self, key: str, stream: str) -> None:
        """Record at once that a stream's calls run here. Raises: BackendError."""
        self._journaled.add((key, stream))
        await self._add_to_journal({(key, stream)})

    # -- lease and inbox, in one task ----------------------------------------------------------------

    async def _listen(self) -> None:
        """Renew the lease if it is due, and read the inbox until it is due."""
        has_failed = self._inbox_task.failure is not None
        try:
            if self._loop.time() >= self.lease.next_renewal:
                await self._heartbeat()
            # After a failure, do not wait for messages, so that the recovery is noticed at once.
            await self._read(0.0 if has_failed else self.lease.next_renewal - self._loop.time())
        except Exception:
            await recover(self._inbox)
            raise
        if has_failed:
            self.receive(StoreReturned())

    async def _read(self, seconds: float) -> None:
        block, after = max(1, milliseconds(seconds)), {self._keys.inbox(self.node): self._last_id}
        try:
            reply = await self._inbox.xread(after, count=_ACK_MESSAGES, block=block)
        except Exception as error:
            raise self._client.batcher.translated(error) from error
        for _, entries in reply or ():
            for number, members in entries:
                self._last_id = number.decode()
                self._unacked += 1
                with suppress_and_log(f"a message to node {self.node} cannot be read"):
                    self._unacked_bytes += len(members[b"m"])
                    if (message := decode_message(members[b"m"])) is not None:
                        self.receive(message)
                if self._unacked_bytes >= _ACK_BYTES:
                    await asyncio.sleep(0)  # a full inbox takes long: let other tasks run in between
        if self._unacked >= _ACK_MESSAGES or self._unacked_bytes >= _ACK_BYTES:
            await self._ack_inbox()

    async def _ack_inbox(self) -> None:
        """Remove the messages that were read from the inbox."""
        unacked_bytes, self._unacked, self._unacked_bytes = self._unacked_bytes, 0, 0
        keys = [self._keys.inbox(self.node), self._keys.inbox_bytes(self.node)]
        with suppress_and_log(f"the inbox of node {self.node} cannot be emptied"):
            await self._client.run("ack_inbox", keys, [self._last_id, unacked_bytes])

    # -- the heartbeat -------------------------------------------------------------------------------

    async def _heartbeat(self, *, first: bool = False) -> None:
        """Renew the lease, with current information. Raises: BackendError."""
        began = self._loop.time()
        self.lease.renewing(began)
        keys, node = self._keys, self.node
        own_keys = [keys.lease(node), keys.inbox(node), keys.inbox_bytes(node), keys.journal(node)]
        arguments = [self._description(), milliseconds(self._lease_seconds), _KEEP_MILLISECONDS]
        ack = [self._ack_inbox()] if self._unacked else []
        lapsed, *_ = await asyncio.gather(self._client.run("heartbeat", own_keys, arguments), *ack)
        if lapsed and not first:
            self.receive(LeaseLapsed())
        if lapsed:
            self._journaled = set()
        self.lease.renewed(began, lapsed=bool(lapsed))
        # Only now, when the grace period has begun: without it, the check would declare live nodes dead.
        for follower in self._followers:
            follower.is_due.set()

    def _description(self) -> bytes:
        """Return the value of the lease: what other nodes and operators can read of this node."""
        own: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "calls": len(self._streams()),
            "draining": self._draining,
        }
        description = orjson.dumps(own)
        with suppress_and_log(f"node {self.node} cannot report its metrics"):
            description = orjson.dumps({**own, **self._process_info()})
        return description

    async def _check_nodes(self) -> None:
        """Register this node and journal its streams; sweep dead nodes. Raises: BackendError."""
        arguments = [self.node, milliseconds(self._lease_seconds)]
        expired = self._client.run("nodes", [self._keys.nodes], arguments)
        dead, _ = await asyncio.gather(attempt("the nodes cannot be read", expired, ()), self._journal_streams())
        names = decode_names(dead)
        if len(names) < len(dead):
            unreadable = [name for name in dead if name.decode(errors="replace") not in names]
            await self._client.execute("ZREM", self._keys.nodes, *unreadable)
        for name in names:
            if name != self.node and self.may_declare_dead():
                with suppress_and_log(f"node {self.node} cannot sweep a dead node"):
                    await self._sweep(name)

    def _streams(self) -> set[tuple[str, str]]:
        """Return the streams whose calls this node runs."""
        return {stream for stream, node in list(self._running.items()) if node == self.node}

    async def _journal_streams(self) -> None:
        streams = self._streams()
        started, ended = streams - self._journaled, self._journaled - streams
        with suppress_and_log(f"the streams of node {self.node} cannot be journaled"):
            if started:
                await self._add_to_journal(started)
            if ended:
                entries = [journal_entry(*item) for item in ended]
                await self._client.execute("HDEL", self._keys.journal(self.node), *entries)
            self._journaled = (self._journaled | started) - ended

    async def _add_to_journal(self, streams: set[tuple[str, str]]) -> None:
        """Add streams to the journal, which must expire even if this node dies before its next heartbeat."""
        journal, execute = self._keys.journal(self.node), self._client.execute
        entries = [text for item in streams for text in (journal_entry(*item), "")]
        await asyncio.gather(execute("HSET", journal, *entries), execute("PEXPIRE", journal, _KEEP_MILLISECONDS))

    # -- dead nodes ----------------------------------------------------------------------------------

    async def _sweep(self, dead: str) -> None:
        """Start the take-over of a dead node's streams, under a lock, so that only one node starts it.

        A stream stays in the dead node's journal until it is claimed, and the node in the list of nodes until its
        journal is empty: if this node dies meanwhile, the next one continues.
        """
        keys, execute = self._keys, self._client.execute
        if await execute("EXISTS", keys.lease(dead)):
            return
        lock_milliseconds = milliseconds(self._lease_seconds / 2)
        if not await execute("SET", keys.sweep_lock(dead), self.node, "NX", "PX", lock_milliseconds):
            if await execute("PTTL", keys.sweep_lock(dead)) == -1:  # a lock without an end blocks every sweep
                await execute("DEL", keys.sweep_lock(dead))
            return
        orphaned, nodes = await asyncio.gather(
            attempt(f"the streams of node {dead} cannot be read", execute("HKEYS", keys.journal(dead)), ()),
            execute("ZRANGE", keys.nodes, 0, -1),
        )
        if not orphaned:
            dead_keys = [keys.inbox(dead), keys.inbox_bytes(dead), keys.journal(dead)]
            await asyncio.gather(execute("ZREM", keys.nodes, dead), execute("DEL", *dead_keys))
        logger.info("node %s died with %d streams to take over", dead, len(orphaned))
        for item in orphaned:
            try:
                key, stream = item.decode().split(" ")
            except ValueError:  # it can never be claimed, and would keep the node in the list for ever
                await execute("HDEL", keys.journal(dead), item)
            else:
                self.receive(Orphaned(key, stream, dead))
        self.receive(NodeLost(dead))
        others = set(decode_names(nodes)) - {dead, self.node}
        await asyncio.gather(*(self._try_to_send(name, NodeLost(dead)) for name in others))

    async def _try_to_send(self, node: str, message: NodeMessage) -> None:
        with suppress(BackendError):
            await send(self._client, node, message)


class _AfterHeartbeat:
    """Work that is done once after each heartbeat."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work, self.is_due = work, asyncio.Event()

    async def run_once(self) -> None:
        """Wait for the next heartbeat, and do the work. Raises: the exceptions of the work."""
        await self.is_due.wait()
        self.is_due.clear()
        await self._work()


def journal_entry(key: str, stream: str) -> str:
    """Return the name of a stream in a node's journal."""
    return f"{key} {stream}"


async def send(client: RedisClient, node: str, message: NodeMessage) -> bool:
    """Put a message into a node's inbox; return False if the node's lease has expired.

    Raises: BackendError, also when the inbox is full.
    """
    arguments = [encode_message(message), _MAX_MESSAGES, _MAX_BYTES, _INBOX_KEEP_MILLISECONDS]
    node_keys = [client.keys.lease(node), client.keys.inbox(node), client.keys.inbox_bytes(node)]
    try:
        reply = await client.run("send", node_keys, arguments)
    except Unreadable as error:  # the inbox is unreadable, and not the session of the message
        raise BackendError(f"no message can be sent to node {node}: {error}") from error
    if reply < 0:
        raise BackendError(f"the inbox of node {node} is full")
    return bool(reply)
