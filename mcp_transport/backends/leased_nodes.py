"""The node bus of a store that other processes share: memberships, and what nodes write into their leases."""

from __future__ import annotations

import asyncio
import os
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from mcp_transport.backends.contracts import Deliver, Measure, NodeBus
from mcp_transport.backends.membership import Membership, NodeStore, RunningStreams
from mcp_transport.backends.records import NodeRecord
from mcp_transport.domain.metrics import Load, ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.supervision import suppress_and_log

__all__ = ["LeasedNodeBus"]


class LeasedNodeBus(NodeBus):
    """Runs the memberships of this process's nodes; `after_heartbeat` is called after each heartbeat."""

    def __init__(
        self,
        running: RunningStreams,
        lease_seconds: float,
        after_heartbeat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._running, self._lease_seconds, self._after_heartbeat = running, lease_seconds, after_heartbeat
        self._members: dict[str, Membership] = {}
        self._measure: Measure = ProcessMetrics
        self._process_name: tuple[int, str] | None = None

    # -- what differs --------------------------------------------------------------------------------

    @abstractmethod
    def _store_of(self, node: str) -> NodeStore:
        """Return the store of a node of this process."""

    @abstractmethod
    def _is_alive(self, node: str) -> Awaitable[bool]:
        """Return whether a node's lease has not lapsed, as far as the store knows."""

    @abstractmethod
    async def _send(self, node: str, message: NodeMessage) -> bool:
        """Send a message to a node of another process; see `send`."""

    @abstractmethod
    async def _number(self, message: Broadcast) -> str:
        """Store a broadcast, and return its number. Raises: BackendError."""

    @abstractmethod
    async def _node_names(self) -> Sequence[str]:
        """Return the names of all nodes. Raises: BackendError."""

    @abstractmethod
    async def _descriptions(self) -> Mapping[str, bytes]:
        """Return what each live node has written into its lease. Raises: BackendError."""

    @abstractmethod
    async def _ages(self, names: Sequence[str]) -> Sequence[float]:
        """Return the seconds since the last heartbeat of nodes that `_descriptions` has returned."""

    # -- nodes ---------------------------------------------------------------------------------------

    async def start(self, node: str, deliver: Deliver, measure: Measure = ProcessMetrics) -> None:
        self._measure = measure
        member = Membership(
            self._store_of(node),
            deliver,
            self._running,
            self._lease_seconds,
            self._process_info,
            after_heartbeat=self._after_heartbeat,
        )
        try:
            await member.start()
        except BaseException:
            await member.stop()
            raise
        self._members[node] = member

    async def stop(self, node: str) -> None:
        if (member := self._members.pop(node, None)) is not None:
            await member.stop()

    def _process_info(self) -> dict[str, Any]:
        """Return the process' name and metrics, which the node of each loop writes into its lease."""
        if self._process_name is None or self._process_name[0] != os.getpid():  # a fork needs another name
            self._process_name = os.getpid(), secrets.token_hex(6)
        return {"process": self._process_name[1], "numbers": self._measure().to_json()}

    def failure(self, node: str) -> BaseException | None:
        member = self._members.get(node)
        return member.failure() if member is not None else None

    async def announce_drain(self, node: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.announce_drain()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        leases = await self._leases()
        records = []
        for (name, lease), age in zip(leases.items(), await self._ages(tuple(leases)), strict=True):
            with suppress_and_log("the lease of a node cannot be read"):
                records.append(_node(name, lease, max(0.0, age)))
        return tuple(records)

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        by_process = {}
        for lease in (await self._leases()).values():
            with suppress_and_log("the metrics of a node cannot be read"):
                by_process[lease["process"]] = ProcessMetrics.from_json(lease["numbers"])
        return tuple(by_process.values())

    async def _leases(self) -> dict[str, Any]:
        """Return what each live node has written into its lease, decoded; skip what cannot be read."""
        leases = {}
        for name, description in (await self._descriptions()).items():
            with suppress_and_log("the lease of a node cannot be read"):
                leases[name] = orjson.loads(description)
        return leases

    def lease_may_be_lost(self, node: str) -> bool:
        member = self._members.get(node)
        return member is not None and asyncio.get_running_loop().time() > member.lease.held_until

    def session_lease_may_be_lost(self, node: str, key: str) -> bool:
        return self.lease_may_be_lost(node)

    async def is_dead(self, node: str, by: str) -> bool:
        """Return whether a node's lease has lapsed, rather than all leases in an outage or by emptying the store.

        `by` is the node that asks, which may be too new to tell, and then waits.
        """
        if (member := self._members.get(by)) is None:
            return not await self._is_alive(node)
        return await member.is_dead(node)

    async def journal_at_once(self, node: str, key: str, stream: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.journal(key, stream)

    # -- messages ------------------------------------------------------------------------------------

    async def send(self, node: str, message: NodeMessage) -> bool:
        if (member := self._members.get(node)) is not None:
            member.receive(message)
            return True
        return await self._send(node, message)

    async def broadcast(self, message: Broadcast) -> None:
        number, names = await asyncio.gather(self._number(message), self._node_names())
        numbered = replace(message, number=number)
        sent = [self.send(name, numbered) for name in names]
        # A node that cannot be reached reads the broadcast when one of its streams is opened again.
        await asyncio.gather(*sent, return_exceptions=True)


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
