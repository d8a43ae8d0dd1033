"""Faults that were found once by reading, each with the exchange that showed it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server.lowlevel.server import Server

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from mcp_transport.protocol.policy import Policy
from tests.support.client import SessionClient, send_sessionless, text_of
from tests.support.clock import FakeClock, settle
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import KEYS, Gate, build_tools


@pytest.fixture
async def store(build_endpoint: Any, clock: Any) -> FlakyBackend:
    return FlakyBackend(build_endpoint().policy, clock.now)


async def test_a_wake_up_that_fails_does_not_keep_the_request_in_flight(build_endpoint, store, clock, gate):
    here, there = build_endpoint(store), build_endpoint(store)
    client = SessionClient(here)
    await client.open()
    answer = await client.call("count", {"steps": 1}, id=7)
    first = await answer.frame()
    await gate.wait(gate.entered)
    await settle()
    resumed = await client.get(first.id, endpoint=there)
    store.away = {"send"}
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    store.away = set()
    reading = asyncio.ensure_future(resumed.messages())
    await settle()
    await clock.advance(15)  # the other node looks by itself
    async with asyncio.timeout(5):
        assert text_of((await reading)[-1]) == "counted"
    assert set(await left_behind(here)) == {"sessions"}


async def test_a_post_that_could_not_be_admitted_whole_is_not_joined_by_its_retry(build_endpoint, store, clock):
    client = SessionClient(build_endpoint(store), "2025-03-26")
    await client.open()
    store.away = {"cancel", "flights", "leave"}
    batch = [
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
    ]
    assert (await client.post(batch)).status == 503
    store.away = set()
    await clock.advance(10)
    again = await client.post(batch)
    assert (again.status, again.json[0]["id"]) == (200, 1)


async def test_a_slow_client_of_a_stream_that_is_forgotten_comes_to_an_end(build_endpoint, clock, gate):
    client = SessionClient(build_endpoint(stream_queue=4, stream_keep=60))
    await client.open()
    answer = await client.call("burst", {"steps": 30})
    await answer.frame()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    await clock.advance(100)
    await client.request("ping")
    async with asyncio.timeout(5):
        assert len(await answer.messages()) < 31


@pytest.mark.parametrize("beyond", [1, 10**9])
async def test_an_event_id_beyond_the_end_of_a_running_stream_ends_with_it(client, clock, gate, beyond):
    answer = await client.call("count", {"steps": 1})
    stream = (await answer.frame()).id.rpartition("-")[0]
    resumed = await client.get(f"{stream}-{beyond + 10}")
    gate.open.set()
    await gate.wait(gate.left)
    reading = asyncio.ensure_future(resumed.messages())
    await settle()
    await clock.advance(15)
    async with asyncio.timeout(5):
        assert await reading == []


async def test_a_node_that_stops_takes_nothing_new(endpoint, client):
    node = await endpoint.node()
    node.is_draining = node.is_stopping = True
    answers = [
        await client.request("ping"),
        await client.get(),
        await client.delete(),
        await send_sessionless(endpoint, "tools/list"),
    ]
    assert [(answer.status, answer.headers.get("retry-after")) for answer in answers] == [(503, "1")] * 4


@pytest.mark.parametrize(("version", "connection"), [("1.1", "close"), ("1.0", None), ("2", None), ("", None)])
async def test_a_node_that_stops_has_a_proxy_drop_the_connection(endpoint, version, connection):
    node = await endpoint.node()
    node.is_draining = node.is_stopping = True
    answer = await send_sessionless(endpoint, "tools/list", http_version=version)
    assert answer.headers.get("connection") == connection


async def test_a_lifespan_that_is_cancelled_is_an_error_and_no_hang():
    @asynccontextmanager
    async def lifespan(server: Server[Any]) -> Any:
        raise asyncio.CancelledError
        yield

    kernel = Kernel(Server("cancelled", lifespan=lifespan))
    with pytest.raises(RuntimeError, match="lifespan"):
        async with asyncio.timeout(5):
            await kernel.enter_lifespan(asyncio.get_running_loop().create_task)


async def test_one_session_that_cannot_be_told_does_not_silence_the_others(build_endpoint, store):
    endpoint = build_endpoint(store)
    clients = [SessionClient(endpoint) for _ in range(3)]
    streams = []
    for client in clients:
        await client.open()
        streams.append(await client.get())
        await streams[-1].frame()
    emit, failed = store.emit, []

    async def emit_once_in_vain(key: str, *message: Any) -> Any:
        if not failed:
            failed.append(key)
            store.away = {"emit"}
        try:
            return await emit(key, *message)
        finally:
            store.away = set()

    store.emit = emit_once_in_vain
    await send_sessionless(endpoint, "tools/call", {"name": "announce", "arguments": {}})
    await settle()
    told = [client for client, stream in zip(clients, streams, strict=True) if await has_message(stream)]
    assert len(told) == 3, "the one that could not be told at once is told when the store answers again"


async def has_message(stream: Any) -> bool:
    reading = asyncio.ensure_future(stream.message())
    await settle()
    if reading.done():
        return reading.result() is not None
    reading.cancel()
    await asyncio.wait([reading])
    return False


@pytest.mark.parametrize("id", ["x" * 257, "x" * 100_000])
async def test_a_request_id_that_is_too_long_is_refused(client, id):
    answer = await client.request("ping", id=id)
    assert (answer.status, answer.error_code) == (400, -32600)


async def test_early_cancellations_of_one_session_are_bounded(client, endpoint):
    for number in range(300):
        await client.notify("notifications/cancelled", {"requestId": f"early-{number}"})
    _, local = next(iter(endpoint.backend._local.values()))
    assert len(local.cancels) == 100


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize("length", [3000, 100_000])
async def test_a_resource_uri_that_is_too_long_cannot_be_subscribed_to(client, method, length):
    refused = await client.request(method, {"uri": "test://" + "x" * length})
    assert refused.error_code == -32602
    assert len(refused.body) < 300


def test_a_node_of_a_closed_loop_is_forgotten():
    policy, clock = Policy(), FakeClock()
    backend = MemoryBackend(policy, clock.now)
    endpoint = Endpoint(Kernel(build_tools(Gate())), backend, policy, keys=KEYS, clock=clock)
    for _ in range(4):
        asyncio.run(endpoint.node())
    assert len(endpoint._nodes) == 1


def test_a_private_kernel_leaves_the_announcements_of_the_live_one_alone():
    server = build_tools(Gate())
    live = Kernel(server)
    Kernel(server, announces=False)
    assert server._subscriptions is live.bus
