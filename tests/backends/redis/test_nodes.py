"""The nodes of the Redis backend do what those of every backend with leases do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mcp_transport.backends.redis.node_bus import RedisNodeBus
from tests.backends.contract_nodes import QUICK, NodeContract, Process
from tests.support.redis.backend import build, leave
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers


class TestRedisNodes(NodeContract):
    @pytest.fixture
    async def make(self, server: RedisServer) -> AsyncIterator[Callable[[], Process]]:
        server.cli("FLUSHALL")
        backends = []

        def build_one() -> Process:
            backends.append(backend := build(server, QUICK))
            assert isinstance(backend.bus, RedisNodeBus)
            return Process(backend.bus)

        yield build_one
        for backend in backends:
            await leave(backend)

    async def put_message(self, process: Process, node: str, raw: bytes) -> None:
        bus: Any = process.bus
        await bus._client.execute("XADD", bus._keys.inbox(node), "*", "m", raw)

    async def put_in_journal(self, process: Process, node: str, entry: str) -> None:
        bus: Any = process.bus
        await bus._client.execute("HSET", bus._keys.journal(node), entry, "")
