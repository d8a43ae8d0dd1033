"""One redis-server for the tests of the backend, and a backend whose clock a test moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from mcp_transport.backends.redis import RedisBackend
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
async def backend(server: RedisServer, clock: HandClock) -> AsyncIterator[RedisBackend]:
    backend = build(server)
    backend._scripts = by_hand()
    yield backend
    await leave(backend)


def build(server: RedisServer, policy: Policy = POLICY) -> RedisBackend:
    return RedisBackend(policy, {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"})


async def leave(backend: RedisBackend) -> None:
    """Have every node leave, and close the connections."""
    await asyncio.gather(*(backend.stop(node) for node in list(backend._members)))
    await backend.disconnect()
