"""Two nodes on one Redis: endpoints, and backends that run operations of every kind, so that every key exists."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp_transport.backends.base import Backend
from mcp_transport.backends.redis import redis_backend
from mcp_transport.domain.node_messages import Broadcast, Drain
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.rate_limit import limits
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from tests.support.backends import ANN, KEY, POLICY, STREAM, ended, events, in_flight, index_of, session
from tests.support.redis.aliases import Alias
from tests.support.redis.backend import build, leave, write_index
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
        Endpoint(Kernel(build_tools(gate)), backend, policy, keys=KEYS, session_keys=KEYS, **options)
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
async def nodes(cache: Alias, **options: Any) -> AsyncIterator[list[Backend]]:
    """Two nodes that share sessions."""
    made = [redis_backend(POLICY, cache, **options) for _ in range(2)]
    try:
        for number, backend in enumerate(made, start=1):
            await backend.bus.start(f"n{number}", lambda message: None)
        yield made
    finally:
        for backend in made:
            await leave(backend)


async def use(one: Backend, other: Backend) -> None:
    """Run operations of every kind: sessions, calls, streams, messages, and operators' queries."""
    await one.sessions.open(session(time.time))
    await one.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight(2)])
    (limit,) = limits("caller", "10/min")
    charge = limit.charge(ANN, 1.0, is_light=False)
    await one.sessions.enter_charged(KEY, ANN, "n1", [], [charge] if one.sessions.charges_at_entry else [])
    assert one.rates is not None
    await one.rates.settle([charge])
    await one.bus.journal_at_once("n1", KEY, STREAM)
    await one.streams.append(KEY, STREAM, events(1, 2))
    await one.sessions.write_state(KEY, "name", b"value")
    assert await one.sessions.subscribe(KEY, "test://a", True, 9, 99)
    await one.sessions.leave(KEY, ended(1))
    await other.streams.attach(KEY, ANN, STREAM, 0, "n2")
    await other.sessions.cancel(KEY, ANN, "early")
    await other.streams.emit(KEY, b"{}")
    await other.bus.broadcast(Broadcast("notifications/resources/updated", "test://a"))
    assert await one.bus.send("n2", Drain())
    await write_index(one)
    assert (await index_of(other).page(query=SessionQuery(user="ann"))).total == 1
    assert [node.name for node in await other.bus.nodes()] == ["n1", "n2"]
    overview = await index_of(other).overview()
    assert (overview.total, overview.memory > 0) == (1, True)
