"""One redis-server for the tests of the backend, and a backend whose clock a test moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from mcp_transport.backends.base import Backend
from mcp_transport.backends.membership import Membership
from mcp_transport.backends.redis import redis_backend
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.node_store import RedisNodeStore
from mcp_transport.backends.redis.pending import IndexChanges
from mcp_transport.backends.redis.scripts import PRELUDE, load_scripts
from mcp_transport.domain.policy import Policy
from tests.support.backends import POLICY, HandClock
from tests.support.redis.server import RedisServer

HAND_TIME = "local function now() return tonumber(redis.call('GET', 'mcp:hand')) end"


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.admin_url, decode_responses=True) as client:
        client.flushall()
        yield client


class RedisHandClock(HandClock):
    """A clock moved by hand, as the scripts see it."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._client = redis.Redis.from_url(server.admin_url)
        self._client.flushall()
        self._tell()

    def _tell(self) -> None:
        self._client.set("mcp:hand", round(self.now * 1000))

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._tell()

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def clock(server: RedisServer) -> Iterator[HandClock]:
    clock = RedisHandClock(server)
    yield clock
    clock.close()


def by_hand() -> dict[str, Any]:
    """Return the scripts with the hand-moved clock in place of Redis's own."""
    head, _, rest = PRELUDE.partition("local function now()")
    _, _, tail = rest.partition("end\n")
    return load_scripts(f"{head}{HAND_TIME}\n{tail}")


@pytest.fixture
async def backend(server: RedisServer, clock: HandClock) -> AsyncIterator[Backend]:
    backend = build_by_hand(server)
    yield backend
    await leave(backend)


def build(server: RedisServer, policy: Policy = POLICY) -> Backend:
    return redis_backend(policy, {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"})


def build_by_hand(server: RedisServer, policy: Policy = POLICY) -> Backend:
    """Build a backend on the clock that is moved by hand."""
    backend = build(server, policy)
    client_of(backend).scripts = by_hand()
    return backend


def client_of(backend: Backend) -> RedisClient:
    """Return the connection that the parts of a backend share."""
    sessions: Any = backend.sessions
    client: RedisClient = sessions._client
    return client


def changes_of(backend: Backend) -> IndexChanges:
    """Return what requests have left to the next heartbeat."""
    sessions: Any = backend.sessions
    changes: IndexChanges = sessions._changes
    return changes


def members(backend: Backend) -> dict[str, Membership]:
    """Return the memberships of a backend's nodes, by node."""
    bus: Any = backend.bus
    members: dict[str, Membership] = bus._members
    return members


def node_store(backend: Backend, node: str) -> RedisNodeStore:
    """Return what a node of a backend stores for its membership."""
    store = members(backend)[node].store
    assert isinstance(store, RedisNodeStore)
    return store


async def write_index(backend: Backend) -> None:
    """Write what requests have left to the next heartbeat, as a node does."""
    sessions: Any = backend.sessions
    await sessions._index.write()


async def leave(backend: Backend) -> None:
    """Have every node leave, and close the connections."""
    await asyncio.gather(*(backend.bus.stop(node) for node in list(members(backend))))
    await backend.sessions.disconnect()
