"""What a process knows of its own nodes: whether a lease may be lost, and which streams run."""

from __future__ import annotations

import asyncio
from functools import partial

import orjson
import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.lease import Lease
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.domain.metrics import Load, ProcessMetrics
from mcp_transport.domain.node_messages import Closed
from mcp_transport.domain.session_query import SessionQuery, State
from mcp_transport.exceptions import BackendError
from tests.support.backends import ANN, KEY, POLICY, STREAM, HandClock, in_flight, index_of, session
from tests.support.redis.backend import members, node_store

pytestmark = pytest.mark.servers

BUSY = SessionQuery(state=State.BUSY)


async def test_a_lease_that_was_not_renewed_for_most_of_its_time_may_be_lost_until_it_is_renewed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.bus.start("n1", lambda message: None)
    assert not backend.bus.lease_may_be_lost("n1")
    assert not backend.bus.lease_may_be_lost("a node of another process")
    member = members(backend)["n1"]
    member.lease = Lease(POLICY.lease, asyncio.get_running_loop().time() - POLICY.lease)
    with monkeypatch.context() as patch:
        away = asyncio.get_running_loop().create_future()
        away.set_exception(BackendError("away"))
        patch.setattr(RedisClient, "run", lambda client, script, keys, arguments: away)
        with pytest.raises(BackendError):
            await member._heartbeat()
    assert backend.bus.lease_may_be_lost("n1")
    await member._heartbeat()
    assert not backend.bus.lease_may_be_lost("n1")


async def test_load_of_a_node_is_read_from_its_lease_as_far_as_it_is_there(backend: Backend) -> None:
    load = Load(running=4, waiting=3, threads=2, lost_threads=1)
    await backend.bus.start("n1", lambda message: None, lambda: ProcessMetrics(load=load))
    assert [node.load for node in await backend.bus.nodes()] == [load]
    assert [numbers.load for numbers in await backend.bus.metrics()] == [load]
    store = node_store(backend, "n1")
    read = partial(store._client.execute, "GET", store._keys.lease("n1"))
    write = partial(store._client.execute, "SET", store._keys.lease("n1"))
    lease = orjson.loads(await read())
    del lease["numbers"]["load"]  # the previous release
    await write(orjson.dumps(lease), "PX", 10_000)
    assert [node.load for node in await backend.bus.nodes()] == [Load()]
    del lease["numbers"]  # could not be measured
    await write(orjson.dumps(lease), "PX", 10_000)
    assert [node.load for node in await backend.bus.nodes()] == [Load()]


async def test_inbox_of_a_node_that_dies_before_its_next_heartbeat_expires(backend: Backend) -> None:
    await backend.bus.start("n1", lambda message: None)
    store, member = node_store(backend, "n1"), members(backend).pop("n1")  # as another process sees it
    keys = [store._keys.inbox("n1"), store._keys.inbox_bytes("n1")]
    await store._client.execute("DEL", *keys)
    await member.stop()
    await store._client.execute("SET", store._keys.lease("n1"), "{}", "PX", 10_000)
    assert await backend.bus.send("n1", Closed(KEY))
    assert all([await store._client.execute("PTTL", key) > 0 for key in keys])


@pytest.mark.parametrize("is_at_once", [True, False], ids=["at once", "after a heartbeat"])
async def test_journal_of_a_node_that_dies_before_its_next_heartbeat_expires(
    is_at_once: bool, backend: Backend, clock: HandClock
) -> None:
    await backend.bus.start("n1", lambda message: None)
    member, store = members(backend)["n1"], node_store(backend, "n1")
    await backend.sessions.open(session(clock))
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
    await (member.journal(KEY, STREAM) if is_at_once else member._journal_streams())
    assert await store._client.execute("PTTL", store._keys.journal("n1")) > 0


async def test_after_an_outage_shorter_than_a_lease_no_live_node_is_declared_dead(
    backend: Backend, clock: HandClock
) -> None:
    for name in ("n1", "n2"):
        await backend.bus.start(name, lambda message: None)
    await backend.sessions.open(session(clock))
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
    # The lease of `n1`, renewed earlier, has lapsed, and that of `n2` has not; `n2` returns first.
    n2, store, now = members(backend)["n2"], node_store(backend, "n2"), asyncio.get_running_loop().time()
    n2.lease = Lease(1.0, now - 0.7)
    assert await store._client.execute("DEL", store._keys.lease("n1")) == 1
    claim = asyncio.ensure_future(backend.streams.claim(KEY, STREAM, "n1", "n2"))
    for _ in range(3):
        await n2._heartbeat()
    await members(backend)["n1"]._heartbeat()
    assert await claim is None


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
