"""The Redis backend fulfils the contract of all backends."""

from __future__ import annotations

import pytest

from mcp_transport.backends.base import Backend
from tests.backends.contract import BackendContract
from tests.backends.contract_counting import CountingContract
from tests.backends.contract_session_cap import SessionCapContract
from tests.support.backends import HandClock
from tests.support.redis.backend import write_index

pytestmark = pytest.mark.servers


class TestRedis(BackendContract, CountingContract, SessionCapContract):
    @pytest.fixture
    def clock(self, clock: HandClock) -> HandClock:
        return clock

    @pytest.fixture
    def backend(self, backend: Backend) -> Backend:
        return backend

    async def index(self, backend: Backend) -> None:
        await write_index(backend)
