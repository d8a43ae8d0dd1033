"""A Redis that each file fills with garbage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis.server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
