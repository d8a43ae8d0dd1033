"""Fixtures of two nodes on one Redis whose round trips are counted, and a table of the results."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from mcp_transport.backends.redis.scripts import load_scripts
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from tests.backends.redis.meter import Cost, Meter, Monitor
from tests.backends.redis.scene import two_endpoints
from tests.support.client import SessionClient
from tests.support.clock import FakeClock
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

__all__ = ["Table", "client", "clock", "meter", "nodes", "table", "there"]

POLICY = Policy(lease=3600.0)  # no heartbeat interferes


class Table(dict[str, Cost]):
    """The rows that tests have measured, by operation."""

    def row(self, operation: str, cost: Cost, blocking: int, behind: int) -> None:
        """Record a row, and compare it with the budget."""
        self[operation] = cost
        assert (len(cost.blocking), len(cost.behind)) == (blocking, behind), f"{operation}: {cost}"


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    print("\n" + "\n".join(f"{operation:58} {cost}" for operation, cost in sorted(table.items())))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())


@pytest.fixture
async def nodes(server: RedisServer, clock: FakeClock, gate: Gate) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    async with two_endpoints(server, gate, POLICY, clock=clock) as made:
        yield made


@pytest.fixture
async def meter(
    server: RedisServer, nodes: tuple[Endpoint, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Meter]:
    monitor = Monitor()
    await monitor.open(server)
    meter = Meter(nodes, monitor)
    meter.install(monkeypatch)
    # Scripts that Redis does not know yet would cost a trip more, once in its life.
    with redis.Redis.from_url(server.admin_url) as admin:
        for script in load_scripts().values():
            admin.script_load(script.source)
    yield meter
    await monitor.close()


@pytest.fixture
async def client(meter: Meter, client: SessionClient) -> SessionClient:
    return client


@pytest.fixture
def there(nodes: tuple[Endpoint, Endpoint]) -> dict[str, Any]:
    """The option that sends a request to the other node."""
    return {"endpoint": nodes[1]}
