"""Build the DynamoDB backend from its parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.node_bus import DynamoNodeBus
from mcp_transport.backends.dynamodb.rates import DynamoRateStore
from mcp_transport.backends.dynamodb.session_index import DynamoSessionIndex
from mcp_transport.backends.dynamodb.session_records import SessionRecords
from mcp_transport.backends.dynamodb.sessions import DynamoSessionStore
from mcp_transport.backends.dynamodb.streams import DynamoStreamLog
from mcp_transport.backends.dynamodb.versioned import VersionedItems
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.domain.policy import Policy

__all__ = ["backend_of", "dynamodb_backend"]


def dynamodb_backend(
    policy: Policy,
    settings: TableSettings,
    now: Callable[[], float] | None = None,
) -> Backend:
    """Build the backend; `now` replaces the store's clock in tests."""
    # The bus has threads, connections and retries of its own: calls that are throttled must not delay its heartbeats.
    return backend_of(policy, DynamoClient(settings, now), DynamoClient(settings, now))


def backend_of(
    policy: Policy,
    client: DynamoClient,
    bus_client: DynamoClient,
    *,
    running: RunningStreams | None = None,
    after_heartbeat: Callable[[], Awaitable[None]] | None = None,
) -> Backend:
    """Build the backend from its clients. `running` will have the streams that nodes of this process run."""
    running = {} if running is None else running
    items, bus = VersionedItems(client), DynamoNodeBus(bus_client, policy, running, after_heartbeat)
    records = SessionRecords(client, policy, items)
    return Backend(
        DynamoSessionStore(client, policy, items, records, running, bus.wake),
        DynamoStreamLog(client, policy, items, records, running, bus),
        bus,
        DynamoSessionIndex(client, policy),
        DynamoRateStore(client),
    )
