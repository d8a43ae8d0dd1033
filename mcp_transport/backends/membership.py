"""A node's membership: its lease, its inbox, and the sweep of dead nodes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import orjson

from mcp_transport.backends.codec import decode_message
from mcp_transport.backends.contracts import Deliver
from mcp_transport.backends.lease import Lease
from mcp_transport.domain.node_messages import LeaseLapsed, NodeLost, NodeMessage, Orphaned, StoreReturned
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import Supervised, attempt, suppress_and_log

__all__ = ["Membership", "NodeStore", "RunningStreams", "Stream"]

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

# The longest pause between two attempts to reach the store during an outage.
_MAX_RETRY_SECONDS: Final = 1.0

# Dead nodes whose streams wait for a take-over by another node, as far as this one has logged them.
_MAX_WAITING: Final = 100

Stream = tuple[str, str]
"""A stream's session and name."""

RunningStreams = dict[Stream, str]
"""By stream, the node of this process that runs the stream's calls."""


class NodeStore(ABC):
    """What one node stores for its membership, and what it finds out about the others. All raise BackendError.

    A journal names the streams whose calls a node runs: a sweep takes them over if the node dies.
    """

    node: str

    @abstractmethod
    async def renew(self, description: bytes) -> bool:
        """Renew the node's lease; return whether others could have taken it for lapsed (at first, too)."""

    @abstractmethod
    async def read_inbox(self, seconds: float, receive: Callable[[bytes], None]) -> None:
        """Wait up to so many seconds for messages, and pass each of them to `receive`, once and whole."""

    async def recover(self) -> None:
        """Prepare the connection for another attempt after a failure."""
        return None

    @abstractmethod
    async def leave(self) -> None:
        """Remove all that the node has stored; ignore a store that does not answer."""

    @abstractmethod
    async def send(self, node: str, message: NodeMessage) -> bool:
        """Put a message into another node's inbox; return False for a node that no longer exists."""

    # -- the node's journal --------------------------------------------------------------------------

    @abstractmethod
    async def add_to_journal(self, streams: set[Stream]) -> None:
        """Add streams to the journal, which must expire even if this node dies before its next heartbeat."""

    @abstractmethod
    async def remove_from_journal(self, streams: set[Stream]) -> None:
        """Remove streams from the journal."""

    # -- other nodes ---------------------------------------------------------------------------------

    @abstractmethod
    def is_alive(self, node: str) -> Awaitable[bool]:
        """Return whether a node's lease has not lapsed; wait if that takes an observation."""

    @abstractmethod
    async def lapsed_nodes(self) -> Sequence[str]:
        """Return nodes whose lease has lapsed, until they are forgotten."""

    @abstractmethod
    async def lock_sweep(self, dead: str) -> bool:
        """Return whether this node alone may sweep a node now, whose lease has lapsed."""

    @abstractmethod
    async def journal_of(self, dead: str) -> Sequence[Stream]:
        """Return the streams in a dead node's journal; remove unreadable ones, which nobody could claim."""

    @abstractmethod
    async def node_names(self) -> Sequence[str]:
        """Return the names of all nodes that are not forgotten."""

    @abstractmethod
    async def forget(self, dead: str) -> None:
        """Remove a dead node with its inbox and its journal."""


class Membership:
    """The membership of one node, from `start` to `stop`.

    One task renews the lease and reads the inbox. Others run once after each heartbeat, so that messages need not
    wait for them: one looks for dead nodes, one runs `after_heartbeat`, if there is one.
    """

    def __init__(
        self,
        store: NodeStore,
        deliver: Deliver,
        running: RunningStreams,
        lease_seconds: float,
        process_info: Callable[[], Mapping[str, Any]],
        *,
        after_heartbeat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.store, self.node, self._deliver = store, store.node, deliver
        self._lease_seconds, self._process_info = lease_seconds, process_info
        self._loop = asyncio.get_running_loop()
        self.lease = Lease(lease_seconds, self._loop.time())
        self._draining = False
        # The streams in the journal, which a sweep would read.
        self._running, self._journaled = running, set[Stream]()
        # Dead nodes with streams that wait for a take-over, and how many: each sweep finds those again.
        self._waiting = dict[str, int]()
        self._inbox_task = self._supervised("the inbox", self._listen)
        checks = _AfterHeartbeat(self._check_nodes)
        self._check_task = self._supervised("the check of other nodes", checks.run_once)
        self._followers, self._tasks = [checks], [self._check_task, self._inbox_task]
        if after_heartbeat is not None:
            self._followers.append(_AfterHeartbeat(after_heartbeat))
            self._tasks.insert(0, self._supervised("the index", self._followers[1].run_once))

    def _supervised(self, what: str, turn: Callable[[], Awaitable[None]]) -> Supervised:
        # Much shorter than the lease, or each failure would also lose the lease.
        pause = min(_MAX_RETRY_SECONDS, self._lease_seconds / 3)
        return Supervised(f"{what} of node {self.node}", turn, max_pause=pause)

    async def start(self) -> None:
        """Acquire a lease, and start the tasks. Raises: BackendError."""
        await self._heartbeat(first=True)
        await self._check_nodes()
        for task in reversed(self._tasks):
            task.start()

    async def stop(self) -> None:
        """Delete the lease, the inbox and the journal, so that other nodes need not wait for the lease to expire."""
        for task in self._tasks:
            await task.stop()
        try:
            await self.store.leave()
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

    async def is_dead(self, node: str) -> bool:
        """Return whether a node's lease has lapsed, rather than all leases in an outage or by emptying the store.

        A node that is too new to tell waits. Raises: BackendError.
        """
        while True:
            own, other = await asyncio.gather(*map(self.store.is_alive, (self.node, node)))
            if other:
                return False
            if own and self.may_declare_dead():
                return True
            await self.wait_for_grace(restart=not own)

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
        await self.store.add_to_journal({(key, stream)})

    # -- lease and inbox, in one task ----------------------------------------------------------------

    async def _listen(self) -> None:
        """Renew the lease if it is due, and read the inbox until it is due."""
        has_failed = self._inbox_task.failure is not None
        try:
            if self._loop.time() >= self.lease.next_renewal:
                await self._heartbeat()
            # After a failure, do not wait for messages, so that the recovery is noticed at once.
            seconds = 0.0 if has_failed else self.lease.next_renewal - self._loop.time()
            await self.store.read_inbox(seconds, self._receive_encoded)
        except Exception:
            await self.store.recover()
            raise
        if has_failed:
            self.receive(StoreReturned())

    def _receive_encoded(self, raw: bytes) -> None:
        with suppress_and_log(f"a message to node {self.node} cannot be read"):
            if (message := decode_message(raw)) is not None:
                self.receive(message)

    # -- the heartbeat -------------------------------------------------------------------------------

    async def _heartbeat(self, *, first: bool = False) -> None:
        """Renew the lease, with current information. Raises: BackendError."""
        began = self._loop.time()
        self.lease.renewing(began)
        lapsed = await self.store.renew(self._description())
        if lapsed and not first:
            self.receive(LeaseLapsed())
        if lapsed:
            self._journaled = set()
        self.lease.renewed(began, lapsed=lapsed)
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
        """Journal this node's streams; sweep dead nodes. Raises: BackendError."""
        lapsed = _read("the nodes cannot be read", self.store.lapsed_nodes)
        names, _ = await asyncio.gather(lapsed, self._journal_streams())
        for name in names:
            if name != self.node and self.may_declare_dead():
                with suppress_and_log(f"node {self.node} cannot sweep a dead node"):
                    await self._sweep(name)

    def _streams(self) -> set[Stream]:
        """Return the streams whose calls this node runs."""
        return {stream for stream, node in list(self._running.items()) if node == self.node}

    async def _journal_streams(self) -> None:
        streams = self._streams()
        started, ended = streams - self._journaled, self._journaled - streams
        with suppress_and_log(f"the streams of node {self.node} cannot be journaled"):
            if started:
                await self.store.add_to_journal(started)
            if ended:
                await self.store.remove_from_journal(ended)
            self._journaled = (self._journaled | started) - ended

    # -- dead nodes ----------------------------------------------------------------------------------

    async def _sweep(self, dead: str) -> None:
        """Start the take-over of a dead node's streams, under a lock, so that only one node starts it.

        A stream stays in the dead node's journal until it is claimed, and the node in the list of nodes until its
        journal is empty: if this node dies meanwhile, the next one continues.
        """
        if not await self.store.lock_sweep(dead):
            return
        journal = _read(f"the streams of node {dead} cannot be read", partial(self.store.journal_of, dead))
        orphaned, nodes = await asyncio.gather(journal, self.store.node_names())
        if not orphaned:
            await self.store.forget(dead)
        if self._waiting.pop(dead, None) != len(orphaned):
            logger.info("node %s died with %d streams to take over", dead, len(orphaned))
        if orphaned:
            self._waiting[dead] = len(orphaned)
        while len(self._waiting) > _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        for key, stream in orphaned:
            self.receive(Orphaned(key, stream, dead))
        self.receive(NodeLost(dead))
        others = set(nodes) - {dead, self.node}
        await asyncio.gather(*(self._try_to_send(name, NodeLost(dead)) for name in others))

    async def _try_to_send(self, node: str, message: NodeMessage) -> None:
        with suppress(BackendError):
            await self.store.send(node, message)


async def _read(what: str, read: Callable[[], Awaitable[Sequence[_T]]]) -> Sequence[_T]:
    """Return what `read` returns, or nothing after a failure. Raises: BackendError.

    It takes a function, since a coroutine inside a task that is cancelled before it starts would never be awaited.
    """
    return await attempt(what, read(), ())


class _AfterHeartbeat:
    """Work that is done once after each heartbeat."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work, self.is_due = work, asyncio.Event()

    async def run_once(self) -> None:
        """Wait for the next heartbeat, and do the work. Raises: the exceptions of the work."""
        await self.is_due.wait()
        self.is_due.clear()
        await self._work()
