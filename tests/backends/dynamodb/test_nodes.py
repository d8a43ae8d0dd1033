"""The nodes of the DynamoDB backend do what those of every backend with leases do."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.items import Address
from mcp_transport.backends.dynamodb.node_bus import DynamoNodeBus
from mcp_transport.backends.dynamodb.writes import Put
from tests.backends.contract_nodes import QUICK, NodeContract, Process
from tests.support.dynamodb.backend import build_client
from tests.support.dynamodb.permanent import refuse_permanent_items

_numbers = itertools.count()


class TestDynamoNodes(NodeContract):
    @pytest.fixture
    async def make(self, table: TableSettings) -> AsyncIterator[Callable[[], Process]]:
        processes = []

        def build_one() -> Process:
            processes.append(process := Process(DynamoNodeBus(build_client(table), QUICK, {})))
            return process

        yield build_one
        for process in processes:
            await process.leave()
        refuse_permanent_items(table)

    async def put_message(self, process: Process, node: str, raw: bytes) -> None:
        bus: Any = process.bus
        await bus._client.write(Put({"pk": f"inbox#{node}", "sk": f"0-{next(_numbers):03}", "body": raw, "ttl": 1}))

    async def put_in_journal(self, process: Process, node: str, entry: str) -> None:
        bus: Any = process.bus
        await bus._client.write(Put({**Address(f"journal#{node}", entry)._asdict(), "ttl": 1}))
