from __future__ import annotations

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.clock import FakeClock
from tests.engine.client import SessionClient
from tests.engine.conftest import BuildEndpoint, build_endpoint, clock, gate
from tests.engine.tools import Gate
from tests.limits.cases import Stage

__all__ = ["build_endpoint", "clock", "gate", "stage"]


@pytest.fixture
async def stage(build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate) -> Stage:
    endpoint: Endpoint = build_endpoint()
    client = SessionClient(endpoint)
    await client.open()
    return Stage(build_endpoint, clock, gate, endpoint, client)
