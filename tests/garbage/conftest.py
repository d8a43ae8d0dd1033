"""A Redis, and a table of DynamoDB, that each file fills with garbage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from tests.garbage.stage import Stage, stage
from tests.support.dynamodb.backend import dynamo, table
from tests.support.redis.backend import build, write_index
from tests.support.redis.server import RedisServer

__all__ = ["dynamo", "made", "server", "store", "table"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[redis.Redis]:
    """Connect as somebody who may do everything, to an empty Redis."""
    with redis.Redis.from_url(server.admin_url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def made(server: RedisServer, store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    server.cli("FLUSHALL")
    async with stage(partial(build, server), monkeypatch, write_index) as made:
        yield made
