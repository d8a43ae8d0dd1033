"""What a process knows of its own nodes: whether a lease may be lost, and which streams run."""

from __future__ import annotations

import asyncio

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.domain.session_query import SessionQuery, State
from mcp_transport.exceptions import BackendError
from tests.support.backends import ANN, KEY, STREAM, HandClock, in_flight, index_of, session
from tests.support.redis.backend import members

pytestmark = pytest.mark.servers

BUSY = SessionQuery(state=State.BUSY)


async def test_a_lease_that_was_not_renewed_for_most_of_its_time_may_be_lost_until_it_is_renewed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.bus.start("n1", lambda message: None)
    assert not backend.bus.lease_may_be_lost("n1")
    assert not backend.bus.lease_may_be_lost("a node of another process")
    member = members(backend)["n1"]
    member.holds_lease_until = asyncio.get_running_loop().time() - 1
    with monkeypatch.context() as patch:
        away = asyncio.get_running_loop().create_future()
        away.set_exception(BackendError("away"))
        patch.setattr(RedisClient, "run", lambda client, script, keys, arguments: away)
        with pytest.raises(BackendError):
            await member._heartbeat()
    assert backend.bus.lease_may_be_lost("n1")
    await member._heartbeat()
    assert not backend.bus.lease_may_be_lost("n1")


async def test_streams_run_on_a_node_from_enter_until_leave_or_until_it_stops(
    backend: Backend, clock: HandClock
) -> None:
    await backend.bus.start("n1", lambda message: None)
    await backend.sessions.open(session(clock))
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
    assert members(backend)["n1"]._streams() == {(KEY, STREAM)}
    assert (await index_of(backend).page(query=BUSY)).total == 1
    await backend.bus.stop("n1")
    assert (await index_of(backend).page(query=BUSY)).total == 0
    await backend.bus.start("n2", lambda message: None)
    assert await backend.streams.claim(KEY, STREAM, "n1", "n2") is not None
    assert members(backend)["n2"]._streams() == {(KEY, STREAM)}
    backend.sessions.forget(KEY)
    assert members(backend)["n2"]._streams() == set()
