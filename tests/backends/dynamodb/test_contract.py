"""The DynamoDB backend fulfils the contract of all backends."""

from __future__ import annotations

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import TableSettings
from tests.backends.contract import BackendContract
from tests.backends.contract_session_cap import SessionCapContract
from tests.support.backends import HandClock
from tests.support.dynamodb.backend import build

pytestmark = pytest.mark.servers


class TestDynamoDB(BackendContract, SessionCapContract):
    @pytest.fixture
    def clock(self, clock: HandClock) -> HandClock:
        return clock

    @pytest.fixture
    def backend(self, table: TableSettings, clock: HandClock) -> Backend:
        return build(table, now=clock)
