"""What a node stores in the table for its membership: its lease, its inbox and its journal."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from mcp_transport.backends.dynamodb.client import MAX_ITEM_BYTES, DynamoClient
from mcp_transport.backends.dynamodb.inbox import Inbox, Outbox, partitions
from mcp_transport.backends.dynamodb.items import EXPIRES, Address
from mcp_transport.backends.dynamodb.leases import (
    KEEP_SECONDS,
    Lease,
    Observations,
    lease_address,
    lease_item,
    read_lease,
    read_leases,
)
from mcp_transport.backends.dynamodb.writes import ABSENT, Conflict, Delete, Put
from mcp_transport.backends.membership import NodeStore, Stream
from mcp_transport.domain.node_messages import NodeMessage
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import log_failure

__all__ = ["DESCRIPTIONS", "DynamoNodeStore", "journal_address"]

DESCRIPTIONS: Final = "descriptions"
"""The partition of what nodes tell operators. It is beside the leases, which each node reads with each heartbeat."""

# How often a renewal is tried again whose condition did not hold; each time, the reason is read.
_RENEWAL_ATTEMPTS: Final = 3

_MAX_BEAT: Final = 2**53


class DynamoNodeStore(NodeStore):
    """The items of one node. `journal_seconds` is how long a call can run: a journal must not expire before."""

    def __init__(
        self,
        node: str,
        client: DynamoClient,
        outbox: Outbox,
        lease_seconds: float,
        journal_seconds: float,
        expects_messages: Callable[[], bool],
    ) -> None:
        self.node, self._client, self._outbox = node, client, outbox
        self._lease_seconds, self._journal_seconds = lease_seconds, journal_seconds
        self.inbox = Inbox(client, node, expects_messages)
        self._loop = asyncio.get_running_loop()
        self._beat: int | None = None
        self._description, self._described = b"", 0
        self._observations, self._leases = Observations(), dict[str, Lease]()

    # -- the node's own items ------------------------------------------------------------------------

    async def renew(self, description: bytes) -> bool:
        lapsed, _ = await asyncio.gather(self._renew(), self._describe(description))
        if lapsed:
            self._description = b""  # a sweep may just delete it: write it again
        return lapsed

    async def _renew(self) -> bool:
        """Write a new beat, unless another node has declared this one dead or deleted its lease; then begin anew."""
        expected, lapsed = self._beat, self._beat is None
        is_full, is_remote = self.inbox.is_full, self._client.is_remote
        lease = Lease(_new_beat(), self._lease_seconds, self._client.now(), is_full=is_full, is_remote=is_remote)
        item = lease_item(self.node, lease, lease.renewed)
        for _ in range(_RENEWAL_ATTEMPTS):
            try:
                await self._client.write(Put(item, expected))
            except Conflict:
                current = await read_lease(self._client, self.node, self._lease_seconds)
                # Without a mark, it is a renewal whose answer was lost, or an item that no node has written.
                lapsed = lapsed or current is None or current.is_swept
                expected = current.expected if current is not None else ABSENT
            else:
                break
        else:
            raise BackendError(f"the lease of node {self.node} cannot be renewed")
        self._beat = lease.beat
        return lapsed

    async def _describe(self, description: bytes) -> None:
        """Write what operators can read of this node, if it has changed or may expire."""
        now = int(self._client.now())
        if len(description) > MAX_ITEM_BYTES:
            log_failure(f"node {self.node} cannot report its metrics", ValueError("they are too large"))
        elif description != self._description or now > self._described + KEEP_SECONDS / 2:
            item = {**Address(DESCRIPTIONS, self.node)._asdict(), "body": description, EXPIRES: now + KEEP_SECONDS}
            await self._client.write(Put(item))
            self._description, self._described = description, now

    async def read_inbox(self, seconds: float, receive: Callable[[bytes], None]) -> None:
        await self.inbox.read(seconds, receive)

    async def leave(self) -> None:
        with suppress(BackendError):
            await self._client.write_each(deletes=[lease_address(self.node)])
            await self._purge(self.node, _journal(self.node))

    async def send(self, node: str, message: NodeMessage) -> bool:
        return await self._outbox.send(node, message)

    async def add_to_journal(self, streams: set[Stream]) -> None:
        expires = int(self._client.now() + self._journal_seconds)
        items = [{**journal_address(self.node, *stream)._asdict(), EXPIRES: expires} for stream in streams]
        await self._client.write_each(puts=items)

    async def remove_from_journal(self, streams: set[Stream]) -> None:
        await self._client.write_each(deletes=[journal_address(self.node, *stream) for stream in streams])

    # -- other nodes ---------------------------------------------------------------------------------

    async def is_alive(self, node: str) -> bool:
        """Wait until the beat of a node changes, if this one has not observed it for long enough to tell."""
        while True:
            began = self._loop.time()
            lease = await read_lease(self._client, node, self._lease_seconds)
            if lease is None or lease.is_swept:
                return False
            if node == self.node:
                return True
            observed = self._observations.add(node, lease.beat, self._loop.time())
            if (remaining := observed.since + lease.seconds - began) < 0:
                return False
            if observed.was_alive:
                return True
            await asyncio.sleep(min(remaining, lease.seconds / 3) + 0.001)

    async def lapsed_nodes(self) -> Sequence[str]:
        """Observe the beats of all nodes, by a read that may be outdated: `lock_sweep` compares with the last write.

        A node that was swept is swept again after half a lease, by whichever node is first.
        """
        began = self._loop.time()
        self._leases = await read_leases(self._client, self._lease_seconds, consistent=False)
        received, lapsed = self._loop.time(), list[str]()
        for node, lease in self._leases.items():
            observed = self._observations.add(node, lease.beat, received)
            if began - observed.since > lease.seconds * (0.5 if lease.is_swept else 1.0):
                lapsed.append(node)
        self._observations.retain(self._leases)
        return lapsed

    async def lock_sweep(self, dead: str) -> bool:
        lease = self._leases[dead]
        marked = replace(lease, beat=_new_beat(), is_swept=True)
        try:
            await self._client.write(Put(lease_item(dead, marked, self._client.now()), lease.expected))
        except Conflict:
            return False  # it has renewed its lease, or another node was first
        self._leases[dead] = marked
        self._observations.add(dead, marked.beat, self._loop.time())
        return True

    async def journal_of(self, dead: str) -> Sequence[Stream]:
        streams, unreadable = list[Stream](), list[Address]()
        for item in await self._client.query(_journal(dead), names=("sk",)):
            try:
                key, stream = item["sk"].split(" ")
            except ValueError:
                unreadable.append(Address(_journal(dead), item["sk"]))
            else:
                streams.append((key, stream))
        await self._client.write_each(deletes=unreadable)
        return streams

    async def node_names(self) -> Sequence[str]:
        """Return them as `lapsed_nodes` has read them."""
        return [name for name, lease in self._leases.items() if not lease.is_swept]

    async def forget(self, dead: str) -> None:
        await self._purge(dead)
        with suppress(Conflict):  # it has returned, or another node sweeps it now
            await self._client.write(Delete(lease_address(dead), self._leases[dead].expected))

    async def _purge(self, node: str, *others: str) -> None:
        """Delete what is in the inbox of a node and in other partitions, and its description."""
        lists = await asyncio.gather(*map(self._addresses, (*partitions(node), *others)))
        addresses = [address for each in lists for address in each]
        await self._client.write_each(deletes=[Address(DESCRIPTIONS, node), *addresses])

    async def _addresses(self, pk: str) -> Iterable[Address]:
        return [Address(pk, item["sk"]) for item in await self._client.query(pk, names=("sk",))]


def journal_address(node: str, key: str, stream: str) -> Address:
    """Return the address of a stream in a node's journal."""
    return Address(_journal(node), f"{key} {stream}")


def _journal(node: str) -> str:
    return f"journal#{node}"


def _new_beat() -> int:
    return 1 + secrets.randbelow(_MAX_BEAT)
