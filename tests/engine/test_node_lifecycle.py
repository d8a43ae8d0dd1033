"""A node's life: one on each loop, started by its first request, ready or not, stopped without leaving anything."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from mcp.server.lowlevel.server import Server

from mcp_transport.domain.history import Ending, ended_entry
from mcp_transport.domain.node_messages import Drain, Orphaned
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from mcp_transport.engine import tasks
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.tasks import wait_while
from mcp_transport.kernel import Kernel
from tests.support.backends import in_flight
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, request, send, send_sessionless, silent, text_of
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint, endpoint_of
from tests.support.losing_backend import Losing
from tests.support.stores import FlakyBackend
from tests.support.tools import Gate, build_tools

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Lifespan:
    """A server's lifespan that notes what happens to it."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.events: list[str] = []
        self.failures = 0
        self.may_enter, self.may_leave, self.leaving = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.entering = asyncio.Event()
        self.may_enter.set()
        self.may_leave.set()

    @asynccontextmanager
    async def __call__(self, server: Any) -> AsyncIterator[dict[str, str]]:
        self.entering.set()
        await self.may_enter.wait()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the lifespan cannot begin")
        self.events.append("entered")
        yield {"state": "of the server"}
        self.leaving.set()
        await self.may_leave.wait()
        self.events.append("left after the handlers" if self.gate.left.is_set() else "left")


@pytest.fixture
async def lifespan(gate: Gate) -> Lifespan:
    return Lifespan(gate)


@pytest.fixture
async def lived(build_endpoint: BuildEndpoint, store: FlakyBackend, gate: Gate, lifespan: Lifespan) -> Endpoint:
    """An endpoint whose server has a lifespan."""
    return build_endpoint(store, build_tools(gate, lifespan=lifespan))


async def add(endpoint: Endpoint) -> Answer:
    return await send_sessionless(endpoint, "tools/call", ADD)


# -- starting -----------------------------------------------------------------------------------------


async def test_nothing_starts_before_the_first_request_that_is_served(
    lived: Endpoint, lifespan: Lifespan, store: FlakyBackend
) -> None:
    assert (await send(lived, raw=b"{")).status == 400
    await lived.pool.stop()
    assert (lifespan.events, store.calls) == ([], [])


async def test_the_lifespan_is_entered_once_for_many_requests_and_left_by_the_first_stop(
    lived: Endpoint, lifespan: Lifespan, store: FlakyBackend
) -> None:
    answers = await asyncio.gather(*(add(lived) for _ in range(5)))
    await add(lived)
    assert [text_of(answer.json) for answer in answers] == ["3"] * 5
    assert (lifespan.events, store.calls.count("start")) == (["entered"], 1)
    for _ in range(2):
        await lived.pool.stop()
    assert (lifespan.events, store.calls.count("stop")) == (["entered", "left"], 1)
    assert text_of((await add(lived)).json) == "3", "a request after a stop begins anew"
    await lived.pool.stop()
    assert lifespan.events == ["entered", "left"] * 2


async def test_each_loop_has_a_node_of_its_own(endpoint: Endpoint) -> None:
    async def elsewhere() -> tuple[str, str]:
        node = await endpoint.pool.node()
        answer = await add(endpoint)
        await endpoint.pool.stop()
        return node.id, text_of(answer.json)

    here = await endpoint.pool.node()
    assert await endpoint.pool.node() is here
    there, text = await asyncio.to_thread(asyncio.run, elsewhere())
    assert (there != here.id, text) == (True, "3")
    assert text_of((await add(endpoint)).json) == "3"
    assert await endpoint.pool.node() is here


def test_a_node_of_a_closed_loop_is_forgotten() -> None:
    endpoint = endpoint_of(build_tools(Gate()), FakeClock())
    for _ in range(4):
        asyncio.run(endpoint.pool.node())
    assert len(endpoint.pool._starting) == 1


async def test_a_stop_on_one_loop_leaves_the_streams_of_another(endpoint: Endpoint) -> None:
    listening = {"notifications": {"toolsListChanged": True}}
    answer = await send_sessionless(endpoint, "subscriptions/listen", listening)
    await answer.message()
    in_between = threading.Event()

    async def elsewhere() -> None:
        await send_sessionless(endpoint, "tools/list")
        await endpoint.pool.stop()
        in_between.set()

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert in_between.is_set()
    await send_sessionless(endpoint, "tools/call", {"name": "announce", "arguments": {}})
    assert (await answer.message())["method"] == "notifications/tools/list_changed"


async def test_a_start_that_failed_is_tried_again_by_the_next_request(
    lived: Endpoint, lifespan: Lifespan, store: FlakyBackend
) -> None:
    lifespan.failures = 1
    failed = await add(lived)
    assert (failed.status, failed.error_code) == (500, -32603)
    assert b"cannot begin" not in failed.body
    assert text_of((await add(lived)).json) == "3"
    assert lifespan.events == ["entered"]
    await lived.pool.stop()
    assert store.calls.count("start") == store.calls.count("stop"), "a node that never began stays registered"


async def test_a_store_that_is_away_at_the_start_is_tried_again(lived: Endpoint, store: FlakyBackend) -> None:
    store.away = {"*"}
    answer = await send(lived, body=request("initialize", CLIENT))
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    store.away.clear()
    assert (await send(lived, body=request("initialize", CLIENT))).status == 200


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_start_goes_on_when_its_first_request_leaves(
    lived: Endpoint, lifespan: Lifespan, failures: int
) -> None:
    lifespan.may_enter.clear()
    lifespan.failures = failures
    first = asyncio.ensure_future(add(lived))
    await asyncio.wait_for(lifespan.entering.wait(), 5)
    first.cancel()
    await asyncio.wait([first])
    lifespan.may_enter.set()
    if failures:
        await settle()
        assert await lived.pool.unready_reason() == ""
    assert text_of((await add(lived)).json) == "3"
    assert lifespan.events == ["entered"]


async def test_a_lifespan_that_is_cancelled_is_an_error_and_no_hang() -> None:
    @asynccontextmanager
    async def lifespan(server: Server[Any]) -> AsyncIterator[Any]:
        if server.name == "cancelled":
            raise asyncio.CancelledError
        yield

    kernel = Kernel(Server("cancelled", lifespan=lifespan))
    with pytest.raises(RuntimeError, match="lifespan"):
        async with asyncio.timeout(60):
            await kernel.enter_lifespan(asyncio.get_running_loop().create_task)


# -- stopping -----------------------------------------------------------------------------------------


async def test_a_stop_ends_everything(
    lived: Endpoint, lifespan: Lifespan, clock: FakeClock, gate: Gate, store: FlakyBackend
) -> None:
    before = asyncio.all_tasks()
    client = await opened(lived)
    stream = await client.get()
    await stream.frame()
    call = await silent(clock, gate.entered, client.call("blocked"))
    listener = await send_sessionless(lived, "subscriptions/listen", {"notifications": {}})
    async with asyncio.timeout(60):
        await lived.pool.stop()
    assert gate.cancelled
    assert await stream.messages() == []
    assert not any("result" in message for message in await call.messages())
    assert "result" in (await listener.messages())[-1]
    assert lifespan.events == ["entered", "left after the handlers"]
    assert asyncio.all_tasks() - before == set(), "tasks outlive their node"
    assert store.calls.count("stop") == 1


async def test_a_stop_waits_no_second_time_for_what_ignores_its_cancellation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "_CANCEL_TIMEOUT_SECONDS", 3600)
    own, is_over, left = tasks.TaskSet(), asyncio.Event(), asyncio.Event()

    async def stays() -> None:
        while not is_over.is_set():
            with suppress(asyncio.CancelledError):
                await is_over.wait()

    async def resides() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    stubborn, resident = own.spawn(stays()), own.spawn_permanent(resides())
    await settle()
    stubborn.cancel()
    await own.wait_idle(0.01)
    async with asyncio.timeout(60):
        await own.stop()
    assert left.is_set() and resident.done()
    assert [record.getMessage()[:40] for record in caplog.records] == ["a task does not end although it was canc"]
    is_over.set()
    await stubborn


async def test_a_stop_leaves_sessions_to_the_other_nodes(here: SessionClient, there: dict[str, Any]) -> None:
    await here.endpoint.pool.stop()
    assert (await here.request("ping", **there)).status == 200


async def test_a_stop_while_the_store_is_away_still_leaves_the_lifespan(
    lived: Endpoint, lifespan: Lifespan, store: FlakyBackend
) -> None:
    await add(lived)
    store.away = {"*"}
    await lived.pool.stop()
    store.away.clear()
    assert lifespan.events == ["entered", "left"]


@pytest.mark.parametrize(("tool", "is_answered"), [("add", True), ("count", False)])
async def test_a_call_that_is_admitted_after_its_node_has_ended_the_others_is_answered(
    here: SessionClient, store: FlakyBackend, monkeypatch: pytest.MonkeyPatch, tool: str, is_answered: bool
) -> None:
    """As when the store is paused while the node stops: the end of the call must not be silent."""
    monkeypatch.setattr("mcp_transport.engine.node._FINAL_FLUSH_SECONDS", 0.5)
    store.hold("enter")
    arguments = {"a": 1, "b": 2} if is_answered else {"steps": 1}
    late = asyncio.ensure_future(here.call(tool, arguments, id=7))
    await settle()
    stopping = asyncio.ensure_future(here.endpoint.pool.stop())
    node = await here.endpoint.pool.node()
    await wait_while(lambda: not node.is_draining, asyncio.get_running_loop().time() + 20, initial_delay=0.0)
    store.held.pop("enter").set()
    answer = await late
    [message] = [answer.json] if answer.stream is None else (await answer.messages())[-1:]
    assert ("result" in message) is is_answered
    assert is_answered or "the server stopped" in message["error"]["message"]
    await stopping
    assert await store.in_flight(session_key(here.session_id)) == ()


async def test_a_lost_stream_whose_requests_have_left_the_store_ends_with_their_error(
    build_endpoint: BuildEndpoint, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a POST that was repeated has never run: the client of the repetition waits on the stream."""
    store = Losing(Policy(), clock.now)
    endpoint = build_endpoint(store)
    client = await opened(endpoint)
    key, left = session_key(client.session_id), in_flight(7, stream="aa")
    entry = ended_entry(left, Ending.CANCELLED, clock.now())

    async def history(_: str) -> Any:
        return (entry,)

    monkeypatch.setattr(store, "history", history)
    node = await endpoint.pool.node()
    await store.enter(key, "", node.id, [left])  # so that there is a log
    store.entered = ()
    node.fail_over(key, "aa", "lost")
    await settle()
    [event] = (await store.read(key, "aa", 1_000_000_000))[0]
    assert event.terminal and json.loads(event.payload)["id"] == 7
    assert "error" in json.loads(event.payload)


async def test_nothing_follows_the_error_of_a_call_that_its_node_has_ended(
    client: SessionClient, endpoint: Endpoint
) -> None:
    answer = await client.call("count", {"steps": 2})
    await answer.event()
    await settle()
    [call] = (await endpoint.pool.node()).registry.running
    call.abandon("the server stopped", ClusterEvent.ABANDONED)
    assert call.writer is not None
    call.writer.write(b'{"jsonrpc": "2.0", "method": "notifications/message"}')
    await call.exchange().notify("notifications/message", {})
    assert "error" in (await answer.messages())[-1]


def test_a_private_kernel_leaves_the_announcements_of_the_live_one_alone() -> None:
    server = build_tools(Gate())
    live = Kernel(server)
    Kernel(server, broadcasts=False)
    assert server._subscriptions is live.bus


# -- readiness ----------------------------------------------------------------------------------------


async def test_a_take_over_that_the_store_delays_is_attempted_once_at_a_time(
    build_endpoint: BuildEndpoint, store: FlakyBackend
) -> None:
    """A sweep finds the stream again after each heartbeat."""
    node = await build_endpoint(store).pool.node()
    store.hold("claim")
    for _ in range(10):
        node.receive(Orphaned("key", "one", "dead"))
        node.receive(Orphaned("key", "two", "dead"))
        await settle()
    assert store.calls == ["claim"] * 2
    store.held.pop("claim").set()
    await settle()
    # What was told meanwhile may be new: the writer may have died after the attempt had found it alive.
    assert store.calls == ["claim"] * 4
    node.receive(Orphaned("key", "one", "dead"))
    await settle()
    assert store.calls == ["claim"] * 5


async def test_it_is_ready_before_and_after_the_first_request(lived: Endpoint) -> None:
    assert await lived.pool.unready_reason() == ""
    await add(lived)
    assert await lived.pool.unready_reason() == ""


async def test_it_is_not_ready_while_the_store_is_away(
    lived: Endpoint, store: FlakyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    store.away = {"*"}
    assert await lived.pool.unready_reason() == "the session store cannot be reached"
    assert "this process is not ready: the store is away" in caplog.text
    store.away.clear()
    assert await lived.pool.unready_reason() == ""


async def test_a_node_that_could_not_join_does_when_it_is_asked_whether_it_is_ready(
    lived: Endpoint, store: FlakyBackend
) -> None:
    store.away = {"start"}
    await add(lived)
    assert await lived.pool.unready_reason() == "the session store cannot be reached"
    store.away.clear()
    assert await lived.pool.unready_reason() == ""
    (node,) = lived.pool.nodes
    assert await store.send(node.id, Drain())


async def test_it_is_not_ready_while_it_stops(lived: Endpoint, lifespan: Lifespan) -> None:
    await add(lived)
    lifespan.may_leave.clear()
    stopping = asyncio.ensure_future(lived.pool.stop())
    await asyncio.wait_for(lifespan.leaving.wait(), 5)
    reason = await lived.pool.unready_reason()
    lifespan.may_leave.set()
    await stopping
    assert reason == "draining"


async def test_a_node_expects_messages_for_calls_of_sessions_streams_and_subscriptions(
    endpoint: Endpoint, client: SessionClient, gate: Gate
) -> None:
    expects = (await endpoint.pool.node()).registry.expects_messages
    assert not expects()
    stream = await client.get()
    assert expects()
    stream.close()
    await settle()
    assert not expects()
    sessionless = asyncio.create_task(send_sessionless(endpoint, "tools/call", {"name": "blocked", "arguments": {}}))
    await gate.wait(gate.entered)
    assert not expects(), "no other node knows of a call without a session"
    gate.entered.clear()
    call = asyncio.create_task(client.call("blocked"))
    await gate.wait(gate.entered)
    assert expects()
    gate.open.set()
    await asyncio.gather(sessionless, call)
    await settle()
    assert not expects()
    listening = await send_sessionless(
        endpoint, "subscriptions/listen", {"notifications": {"toolsListChanged": True}}
    )
    assert await listening.message()
    assert expects()
    listening.close()
    await settle()
    assert not expects()
