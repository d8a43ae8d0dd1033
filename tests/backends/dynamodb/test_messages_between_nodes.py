"""Messages between endpoints through DynamoDB do what those through Redis do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from tests.backends.contract_messages import MessageContract
from tests.support.dynamodb.backend import build
from tests.support.tools import KEYS, Gate, build_tools


class TestDynamoMessages(MessageContract):
    @pytest.fixture
    async def gate(self) -> Gate:
        return Gate()

    @pytest.fixture
    async def nodes(
        self, table: TableSettings, gate: Gate, policy: Policy
    ) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
        one, other = (
            Endpoint(Kernel(build_tools(gate)), build(table, policy), policy, keys=KEYS, session_keys=KEYS)
            for _ in range(2)
        )
        for endpoint in (one, other):
            await endpoint.pool.node()
        yield one, other
        gate.open.set()
        for endpoint in (one, other):
            await endpoint.pool.stop()
