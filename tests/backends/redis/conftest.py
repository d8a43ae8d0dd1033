"""A redis-server for the tests of the backend, a backend with a clock that tests advance, and two nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from tests.backends.redis.scene import two_endpoints
from tests.support.client import SessionClient
from tests.support.redis.backend import admin, backend, clock, server
from tests.support.redis.permanent import refuse_permanent_keys
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

__all__ = ["admin", "backend", "clock", "server"]


@pytest.fixture(autouse=True)
def each_key_expires(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a key which never expires, unless there is a reason."""
    if "server" not in request.fixturenames:
        yield
        return
    server: RedisServer = request.getfixturevalue("server")
    yield
    if server.alive:
        refuse_permanent_keys(server)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
async def nodes(server: RedisServer, gate: Gate, policy: Policy) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    async with two_endpoints(server, gate, policy) as made:
        yield made


@pytest.fixture
async def client(nodes: tuple[Endpoint, Endpoint]) -> SessionClient:
    """A client with a session, whose requests go to the first node."""
    client = SessionClient(nodes[0])
    await client.open()
    return client
