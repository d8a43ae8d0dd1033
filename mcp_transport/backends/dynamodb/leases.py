"""The leases of nodes: items whose beat each renewal changes, and what a process observes of them by its own clock.

DynamoDB has no clock, and deletes expired items days late. So a node is dead when another one has observed its beat
unchanged for longer than the lease; no wall clock decides. Beats are random: an unchanged one was never renewed.
Nodes look at each other with each heartbeat, so a node is swept at most 5/3 of a lease after its last heartbeat.
"""

from __future__ import annotations

import zlib
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from mcp_transport.backends.codec import milliseconds
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import EXPIRES, VERSION, Address, Item, count_of

__all__ = ["KEEP_SECONDS", "Lease", "Observation", "Observations", "lease_item", "read_lease", "read_leases"]

KEEP_SECONDS: Final = 3600
"""How long what a dead node has left is stored for the sweep."""

_NODES: Final = "nodes"
_MAX_LEASE_MILLISECONDS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Lease:
    """A node's lease as it is stored. `beat` is negative for an item that no release has written."""

    beat: int
    seconds: float
    renewed: float = 0.0
    """When, by the store's clock; only operators read it."""
    is_swept: bool = False
    """Has another node declared this one dead?"""
    is_full: bool = False
    """Does the node receive more messages than it can read?"""
    is_remote: bool = False
    """Is the node's process in another region, whose endpoint may be lost with this one's?"""

    @property
    def expected(self) -> int | None:
        """Return the version that a conditional write expects; None for an item without a valid one."""
        return self.beat if self.beat > 0 else None


class Observation(NamedTuple):
    """A beat, the time since which it was observed unchanged, and whether the node was observed to be alive then."""

    beat: int
    since: float
    was_alive: bool


class Observations:
    """Remembers the beat of each node; times are those of the caller's monotonic clock."""

    def __init__(self) -> None:
        self._of = dict[str, Observation]()
        self._is_complete = False

    def add(self, node: str, beat: int, received: float) -> Observation:
        """Record a beat that the store had returned by `received`; return since when it is unchanged."""
        last = self._of.get(node)
        if last is None or last.beat != beat:
            was_alive = last is not None or self._is_complete  # a renewal, or a node that is new
            last = self._of[node] = Observation(beat, received, was_alive)
        return last

    def retain(self, nodes: Container[str]) -> None:
        """Forget all other nodes: these are all that the store has."""
        self._of = {node: each for node, each in self._of.items() if node in nodes}
        self._is_complete = True


def lease_item(node: str, lease: Lease, now: float) -> Item:
    """Return the item of a lease, by the store's time."""
    return {
        **Address(_NODES, node)._asdict(),
        VERSION: lease.beat,
        "lease": milliseconds(lease.seconds),
        "renewed": milliseconds(lease.renewed),
        "swept": lease.is_swept,
        "full": lease.is_full,
        **({"remote": True} if lease.is_remote else {}),
        EXPIRES: int(now) + KEEP_SECONDS,
    }


def lease_address(node: str) -> Address:
    """Return the address of a node's lease."""
    return Address(_NODES, node)


async def read_lease(client: DynamoClient, node: str, seconds: float) -> Lease | None:
    """Return a node's lease as the last write has left it, None without one; `seconds` is the usual length.

    Raises: BackendError.
    """
    item = await client.get(lease_address(node))
    return _decode(item, seconds) if item is not None else None


async def read_leases(client: DynamoClient, seconds: float, *, consistent: bool) -> dict[str, Lease]:
    """Return the leases of all nodes by name, unreadable ones included. Raises: BackendError."""
    items = await client.query(_NODES, consistent=consistent)
    return {item["sk"]: _decode(item, seconds) for item in items}


def _decode(item: Item, seconds: float) -> Lease:
    """Decode a lease. An item that no release has written counts as a beat, so that it is swept some time."""
    with suppress(KeyError, ValueError):
        beat, length = count_of(item[VERSION], 1), count_of(item["lease"], 1, _MAX_LEASE_MILLISECONDS)
        flags = item["swept"] is True, item["full"] is True, item.get("remote") is True
        return Lease(beat, length / 1000, count_of(item["renewed"]) / 1000, *flags)
    return Lease(-1 - zlib.crc32(repr(sorted(item.items(), key=lambda each: each[0])).encode()), seconds)
