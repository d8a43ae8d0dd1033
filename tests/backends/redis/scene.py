"""Two nodes on one Redis: endpoints, and backends that run operations of every kind, so that every key exists."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp_transport.backends.base import Backend
from mcp_transport.backends.redis import RedisBackend
from mcp_transport.domain.node_messages import Broadcast, Drain
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from tests.support.backends import ANN, KEY, POLICY, STREAM, ended, events, in_flight, session
from tests.support.redis.aliases import Alias
from tests.support.redis.backend import build, leave
from tests.support.redis.server import RedisServer
from tests.support.tools import KEYS, Gate, build_tools


@asynccontextmanager
async def two_endpoints(
    server: RedisServer, gate: Gate, policy: Policy, **options: Any
) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    """Two endpoints that have joined, on an empty Redis."""
    server.cli("FLUSHALL")
    backends = [build(server, policy) for _ in range(2)]
    one, other = (
        Endpoint(Kernel(build_tools(gate)), Backend.of(backend), policy, keys=KEYS, session_keys=KEYS, **options)
        for backend in backends
    )
    for endpoint in (one, other):
        await endpoint.pool.node()
    yield one, other
    gate.open.set()
    for endpoint in (one, other):
        await endpoint.pool.stop()
    for backend in backends:
        await leave(backend)


@asynccontextmanager
async def nodes(cache: Alias, **options: Any) -> AsyncIterator[list[RedisBackend]]:
    """Two nodes that share sessions."""
    made = [RedisBackend(POLICY, cache, **options) for _ in range(2)]
    try:
        for number, backend in enumerate(made, start=1):
            await backend.start(f"n{number}", lambda message: None)
        yield made
    finally:
        for backend in made:
            await leave(backend)


async def use(one: RedisBackend, other: RedisBackend) -> None:
    """Run operations of every kind: sessions, calls, streams, messages, and operators' queries."""
    await one.open(session(time.time))
    await one.enter(KEY, ANN, "n1", [in_flight(1), in_flight(2)])
    await one.journal_at_once("n1", KEY, STREAM)
    await one.append(KEY, STREAM, events(1, 2))
    await one.write_state(KEY, "name", b"value")
    assert await one.subscribe(KEY, "test://a", True, 9, 99)
    await one.leave(KEY, ended(1))
    await other.attach(KEY, ANN, STREAM, 0, "n2")
    await other.cancel(KEY, ANN, "early")
    await other.emit(KEY, b"{}")
    await other.broadcast(Broadcast("notifications/resources/updated", "test://a"))
    assert await one.send("n2", Drain())
    await one._update_indexes()
    assert (await other.page(query=SessionQuery(user="ann"))).total == 1
    assert [node.name for node in await other.nodes()] == ["n1", "n2"]
    overview = await other.overview()
    assert (overview.total, overview.memory > 0) == (1, True)
