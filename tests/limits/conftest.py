from __future__ import annotations

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.limits.cases import Stage
from tests.support.client import SessionClient
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint, build_endpoint, clock, gate
from tests.support.tools import Gate

__all__ = ["build_endpoint", "clock", "gate", "stage"]


@pytest.fixture
async def stage(build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate) -> Stage:
    endpoint: Endpoint = build_endpoint()
    client = SessionClient(endpoint)
    await client.open()
    return Stage(build_endpoint, clock, gate, endpoint, client)
