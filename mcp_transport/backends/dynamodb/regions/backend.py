"""Build the DynamoDB backend over several regions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from functools import partial

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.backend import backend_of
from mcp_transport.backends.dynamodb.client import AnswerObserver, DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.leases import read_leases
from mcp_transport.backends.dynamodb.regions.health import HealthObserver, RegionHealth
from mcp_transport.backends.dynamodb.regions.homes import Home, Homes
from mcp_transport.backends.dynamodb.regions.memberships import Memberships
from mcp_transport.backends.dynamodb.regions.node_bus import RoutedNodeBus
from mcp_transport.backends.dynamodb.regions.parts import RoutedSessionStore, RoutedStreamLog
from mcp_transport.backends.dynamodb.regions.region import Region
from mcp_transport.backends.dynamodb.regions.rehoming import Rehoming
from mcp_transport.backends.dynamodb.regions.router import Router
from mcp_transport.backends.dynamodb.regions.session_index import RegionsIndex
from mcp_transport.backends.dynamodb.session_index import DynamoSessionIndex
from mcp_transport.backends.dynamodb.sessions import DynamoSessionStore
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.backends.results import Closing
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

    def build_own(running: RunningStreams) -> Backend:
        bus_client = connect(tables[policy.region], now, None)
        # The router needs the bus, which needs the router only after its first heartbeat.
        return backend_of(
            policy, client, bus_client, running=running, after_heartbeat=lambda: router.verify_running()
        )

    own = Region(policy.region, HealthObserver(policy.region, RegionHealth(lost_seconds), monotonic), build_own)
    clients, others = _others(policy, tables, lost_seconds, now, monotonic, connect)
    rehoming = Rehoming(policy.region, clients, client, policy)
    memberships = Memberships(own.backend.bus, others.values())

    async def leases(region: str) -> Set[object]:
        current = await read_leases(client.in_namespace(region), policy.lease, consistent=False)
        return frozenset(current.items())

    async def give_up(key: str, home: Home) -> Closing | None:
        sessions = own.backend.sessions
        assert isinstance(sessions, DynamoSessionStore)  # noqa: S101
        return await sessions.give_up(key, *home)

    router = Router(own, others, Homes(policy.lease), rehoming, memberships, leases, give_up)
    indexes = {region: DynamoSessionIndex(client.in_namespace(region), policy) for region in tables}
    return Backend(
        RoutedSessionStore(router),
        RoutedStreamLog(router),
        RoutedNodeBus(router),
        RegionsIndex(indexes, rehoming.claims, client.now),
        own.backend.rates,
    )


def _others(
    policy: Policy,
    tables: Mapping[str, TableSettings],
    lost_seconds: float,
    now: Callable[[], float] | None,
    monotonic: Callable[[], float],
    connect: Connect,
) -> tuple[dict[str, DynamoClient], dict[str, Region]]:
    """Return a client at the endpoint of each other region, and the regions."""
    clients, regions = dict[str, DynamoClient](), dict[str, Region]()
    for name, table in tables.items():
        if name != policy.region:
            observer = HealthObserver(name, RegionHealth(lost_seconds), monotonic)
            clients[name] = connect(table, now, observer)
            build = partial(_build_other, policy, clients[name], connect(table, now, observer))
            regions[name] = Region(name, observer, build)
    return clients, regions


def _build_other(policy: Policy, client: DynamoClient, bus_client: DynamoClient, running: RunningStreams) -> Backend:
    return backend_of(policy, client, bus_client, running=running)
