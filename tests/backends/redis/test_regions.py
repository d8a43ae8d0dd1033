"""Regions with a Redis each: a session that comes from another one is rebuilt from its id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_transport.backends.base import Backend
from tests.support.backends import KEY, HandClock, session

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(("region", "is_restored"), [("", False), ("us-east-1", True)])
async def test_a_session_of_another_region_may_be_older_than_an_idle_one(
    backend: Backend, clock: HandClock, region: str, is_restored: bool
) -> None:
    """It was used there. One of this region would have expired."""
    await backend.sessions.open(session(clock, key="A" * 26))  # the store is older
    clock.advance(60)
    record = replace(session(clock), region=region, ends=clock() + 86_400)
    clock.advance(5000)
    assert await backend.sessions.restore(record) is is_restored
    stored = await backend.sessions.get(KEY)
    assert (stored is not None) is is_restored
    assert stored is None or stored.region == ""


async def test_a_session_that_has_ended_here_is_not_rebuilt(backend: Backend, clock: HandClock) -> None:
    record = replace(session(clock), region="us-east-1")
    assert await backend.sessions.restore(record)
    await backend.sessions.close(KEY, None)
    assert not await backend.sessions.restore(record)
