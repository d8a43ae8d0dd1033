"""Build the DynamoDB backend over several regions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.backend import backend_of
from mcp_transport.backends.dynamodb.client import AnswerObserver, DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.leases import read_leases
from mcp_transport.backends.dynamodb.regions.health import HealthObserver, RegionHealth
from mcp_transport.backends.dynamodb.regions.homes import Homes
from mcp_transport.backends.dynamodb.regions.memberships import Memberships
from mcp_transport.backends.dynamodb.regions.node_bus import RoutedNodeBus
from mcp_transport.backends.dynamodb.regions.parts import RoutedSessionStore, RoutedStreamLog
from mcp_transport.backends.dynamodb.regions.region import Region
from mcp_transport.backends.dynamodb.regions.rehoming import Rehoming
from mcp_transport.backends.dynamodb.regions.router import Router
from mcp_transport.backends.dynamodb.regions.session_index import RegionsIndex
from mcp_transport.backends.dynamodb.session_index import DynamoSessionIndex
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.domain.policy import Policy

__all__ = ["Connect", "regions_backend"]

Connect = Callable[[TableSettings, Callable[[], float] | None, AnswerObserver | None], DynamoClient]
"""Returns a client of a region's table."""


def regions_backend(
    policy: Policy,
    tables: Mapping[str, TableSettings],
    lost_seconds: float,
    *,
    now: Callable[[], float] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    connect: Connect = DynamoClient,
) -> Backend:
    """Build the backend of a process in `policy.region`, which is one of the `tables`.

    `now`, `monotonic` and `connect` replace the clocks and the table in tests.
    """
    client = connect(tables[policy.region], now, None)
    others = {
        name: _other_region(name, policy, table, lost_seconds, now, monotonic, connect)
        for name, table in tables.items()
        if name != policy.region
    }

    def build_own(running: RunningStreams) -> Backend:
        bus_client = connect(tables[policy.region], now, None)
        # The router needs the bus, which needs the router only after its first heartbeat.
        return backend_of(
            policy, client, bus_client, running=running, after_heartbeat=lambda: router.verify_running()
        )

    async def verify() -> None:
        await router.verify_running()  # which needs the bus, and exists once a node sends its first heartbeat

    own = Region(policy.region, HealthObserver(policy.region, RegionHealth(lost_seconds), monotonic), build_own)
    rehoming = Rehoming(policy.region, tables, client, policy)
    memberships = Memberships(own.backend.bus, others.values())

    async def leases(region: str) -> Set[object]:
        current = await read_leases(client.in_namespace(region), policy.lease, consistent=False)
        return frozenset(current.items())

    router = Router(own, others, Homes(policy.lease), rehoming, memberships, leases)
    indexes = {region: DynamoSessionIndex(client.in_namespace(region), policy) for region in tables}
    return Backend(
        RoutedSessionStore(router),
        RoutedStreamLog(router),
        RoutedNodeBus(router),
        RegionsIndex(indexes, rehoming.claims, client.now),
        own.backend.rates,
    )


def _other_region(
    name: str,
    policy: Policy,
    table: TableSettings,
    lost_seconds: float,
    now: Callable[[], float] | None,
    monotonic: Callable[[], float],
    connect: Connect,
) -> Region:
    observer = HealthObserver(name, RegionHealth(lost_seconds), monotonic)

    def build(running: RunningStreams) -> Backend:
        clients = [connect(table, now, observer) for _ in range(2)]
        return backend_of(policy, *clients, running=running)

    return Region(name, observer, build)
