"""The DynamoDB backend fulfils the contract of all backends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.regions.backend import regions_backend
from tests.backends.contract import BackendContract
from tests.backends.contract_session_cap import SessionCapContract
from tests.support.backends import POLICY, HandClock
from tests.support.dynamodb.backend import build

pytestmark = pytest.mark.servers


class TestDynamoDB(BackendContract, SessionCapContract):
    @pytest.fixture
    def clock(self, clock: HandClock) -> HandClock:
        return clock

    @pytest.fixture
    def backend(self, table: TableSettings, clock: HandClock) -> Backend:
        return build(table, now=clock)


class TestRegions(BackendContract, SessionCapContract):
    """A table with one region, whose keys have its name."""

    @pytest.fixture
    def clock(self, clock: HandClock) -> HandClock:
        return clock

    @pytest.fixture
    def backend(self, table: TableSettings, clock: HandClock) -> Backend:
        region = "eu-west-1"
        tables = {region: replace(table, namespace=region)}
        return regions_backend(replace(POLICY, region=region), tables, 30.0, now=clock)
