"""A request with an idempotency key on two nodes of one process that keeps its sessions in a Django cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mcp_transport.backends.cache import CacheBackend
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from tests.backends.caches import FILES, LOCMEM
from tests.support.client import SessionClient
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint, build_endpoint, clock, gate
from tests.support.kept_answers import KeptAnswers

__all__ = ["build_endpoint", "clock", "gate"]


class TestCache(KeptAnswers):
    @pytest.fixture
    async def nodes(
        self, settings: Any, clock: FakeClock, build_endpoint: BuildEndpoint
    ) -> tuple[Endpoint, Endpoint]:
        settings.CACHES = {"default": {"BACKEND": LOCMEM}, "mcp": {"BACKEND": LOCMEM, "LOCATION": uuid4().hex}}
        backend = CacheBackend(Policy(), clock.now, "mcp")
        return build_endpoint(backend), build_endpoint(backend)


async def test_a_cache_that_processes_share_announces_nothing(
    settings: Any, clock: FakeClock, build_endpoint: BuildEndpoint, tmp_path: Path
) -> None:
    """Another process can read the session, but not its streams: a repetition would run there."""
    settings.CACHES = {"default": {"BACKEND": LOCMEM}, "mcp": {"BACKEND": FILES, "LOCATION": str(tmp_path)}}
    answer = await SessionClient(build_endpoint(CacheBackend(Policy(), clock.now, "mcp"))).open()
    assert not answer.json["result"]["capabilities"].get("experimental")
