"""The budget of the design: how many round trips to Redis an answer waits for, and how many are behind it.

Run with `-s` to see the table.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from mcp.server.subscriptions import ResourceUpdated, ToolsListChanged

from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from tests.backends.redis.meter import Meter, Monitor
from tests.backends.redis.metered import Table, client, clock, meter, nodes, table, there
from tests.support.client import ALL_CAPABILITIES, Answer, SessionClient, request, send, send_sessionless, silent
from tests.support.clock import FakeClock, settle
from tests.support.redis.backend import build
from tests.support.redis.server import RedisServer
from tests.support.tools import KEYS, Gate, build_tools

__all__ = ["client", "clock", "meter", "nodes", "table", "there"]

pytestmark = pytest.mark.servers


@pytest.fixture
async def call(client: SessionClient, gate: Gate) -> Any:
    """A call that runs on the first node, and has sent two events on its stream."""
    answer = await client.call("count", {"steps": 2}, id="c")
    assert [(await answer.message())["params"]["progress"] for _ in range(2)] == [1, 2]
    await gate.wait(gate.entered)
    return answer


async def test_sessionless_requests_cost_nothing(
    nodes: tuple[Endpoint, Endpoint], meter: Meter, table: Table
) -> None:
    work = send_sessionless(nodes[0], "tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    answer, cost = await meter.of(work)
    assert answer.status == 200
    table.row("sessionless POST", cost, 0, 0)


async def test_initialize(nodes: tuple[Endpoint, Endpoint], meter: Meter, table: Table) -> None:
    client = {"name": "t", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": ALL_CAPABILITIES, "clientInfo": client}
    _, cost = await meter.of(send(nodes[0], body=request("initialize", params)))
    table.row("initialize", cost, 1, 0)


async def test_notifications_initialized(client: SessionClient, meter: Meter, table: Table) -> None:
    _, cost = await meter.of(client.notify("notifications/initialized"))
    table.row("notifications/initialized", cost, 1, 1)


async def test_a_call_that_is_answered_with_json(client: SessionClient, meter: Meter, table: Table) -> None:
    answer, cost = await meter.of(client.call("add", {"a": 1, "b": 2}))
    assert answer.stream is None
    table.row("tools/call, answered with JSON", cost, 1, 1)


@pytest.mark.parametrize("events", [1, 100])
async def test_a_call_that_is_answered_with_events(
    client: SessionClient, gate: Gate, meter: Meter, table: Table, events: int
) -> None:
    gate.open.set()
    answer, cost = await meter.of(client.call("count", {"steps": events - 1}))
    assert len(await answer.messages()) == events + 1
    # One for each tick: the first event leaves in one of its own, and the result comes mostly too late to go with
    # the others; it removes its requests in flight.
    table.row(f"tools/call, answered with {events} events and the result", cost, 1, len(cost.behind))
    assert 1 <= len(cost.behind) <= (2 if events == 1 else 3), cost


async def test_events_of_later_ticks(
    client: SessionClient, gate: Gate, call: Answer, meter: Meter, table: Table
) -> None:
    gate.orders.put_nowait(True)
    answer, _ = await meter.of(client.call("obey"))
    assert (await answer.message())["params"]["progress"]
    for _ in range(2):
        before = len(meter.trips)
        gate.orders.put_nowait(True)
        assert (await answer.message())["params"]["progress"]
        cost = await meter.rest(before)
        table.row("an event", cost, 0, 1)
    gate.orders.put_nowait(False)


async def test_a_question_to_the_client(
    client: SessionClient, gate: Gate, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    answer, cost = await meter.of(client.call("ask"))
    question = await answer.message()
    table.row("tools/call that asks its client", cost, 1, 1)
    content = {"action": "accept", "content": {"name": "x"}}
    reply, cost = await meter.of(client.reply(question["id"], content, **there))
    assert reply.status == 202
    assert cost.blocking == [("ENTER", "SEND")]
    table.row("its reply on another node, and the end of the call", cost, 1, 1)
    assert await answer.text() == "accept x"


async def test_a_reply_on_the_asking_node(client: SessionClient, meter: Meter, table: Table) -> None:
    answer = await client.call("ask")
    question = await answer.message()
    _, cost = await meter.of(client.reply(question["id"], {"action": "decline"}))
    assert cost.blocking == [("ENTER",)]
    table.row("its reply on the asking node, and the end of the call", cost, 1, 1)


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
async def test_subscriptions_are_changed(client: SessionClient, meter: Meter, table: Table, method: str) -> None:
    answer, cost = await meter.of(client.request(method, {"uri": "test://watched"}))
    assert answer.json["result"] == {}
    assert cost.blocking == [("ENTER",), ("SUBSCRIBE",)]
    table.row(method, cost, 2, 1)


async def test_the_get_stream_is_opened_and_again_elsewhere(
    client: SessionClient, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    _, cost = await meter.of(client.get())
    table.row("GET opened", cost, 1, 1)
    _, cost = await meter.of(client.get("g-0", **there))
    table.row("GET opened, held by another node", cost, 1, 1)


@pytest.mark.parametrize(("where", "behind"), [("the same node", 1), ("another node", 2)])
async def test_a_notification_for_a_get_stream(
    client: SessionClient, nodes: tuple[Endpoint, Endpoint], meter: Meter, table: Table, where: Any, behind: Any
) -> None:
    stream = await client.get(endpoint=nodes[where == "another node"])
    assert (await stream.frame()) is not None
    node = await nodes[0].pool.node()
    _, cost = await meter.of(node.emit(session_key(client.session_id), "notifications/message", {"data": 1}))
    reading = asyncio.ensure_future(stream.message())
    cost.behind += (await meter.rest()).behind
    assert (await reading)["params"] == {"data": 1}
    table.row(f"GET notification, held by {where}", cost, 1, behind)


async def test_what_was_delivered_is_marked_once_a_second(
    client: SessionClient, nodes: tuple[Endpoint, Endpoint], clock: FakeClock, meter: Meter, table: Table
) -> None:
    stream = await client.get()
    node = await nodes[0].pool.node()
    for _ in range(5):
        await node.emit(session_key(client.session_id), "notifications/message", {"data": 1})
        assert await stream.message()
    await meter.quiet()
    before = len(meter.trips)
    await clock.advance(1.0)
    cost = await meter.rest(before)
    table.row("GET delivery marked, for all of a second", cost, 0, 1)


async def test_a_stream_is_resumed_elsewhere(
    client: SessionClient, call: Answer, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    _, cost = await meter.of(client.get(f"{call_stream(client)}-1", **there))
    # The old socket's node lets go, and the writer, which may have forgotten the call, says that it is still there.
    table.row("resume of a running call, held by another node", cost, 1, 3)


def call_stream(client: SessionClient) -> str:
    """Return the name of the one stream that the client's first node writes."""
    (node,) = client.endpoint.pool.nodes
    ((_, stream),) = node.registry.streams
    return stream


async def test_a_stream_that_ended_is_resumed_elsewhere(
    client: SessionClient, call: Answer, gate: Gate, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    stream = call_stream(client)
    gate.open.set()
    assert (await call.messages())[-1]["id"] == "c"
    _, cost = await meter.of(client.get(f"{stream}-1", **there))
    # Nobody told the store that the first socket is gone, so its node is told to let go.
    table.row("resume of a finished call", cost, 1, 1)


async def test_a_cancellation_elsewhere(
    client: SessionClient, call: Answer, gate: Gate, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    answer, cost = await meter.of(client.notify("notifications/cancelled", {"requestId": "c"}, **there))
    assert answer.status == 202
    await gate.wait(gate.left)
    assert cost.blocking == [("ENTER", "CANCEL")]
    table.row("cancelled on another node, and the end of the call", cost, 1, 2)


async def test_a_cancellation_of_something_unknown(client: SessionClient, meter: Meter, table: Table) -> None:
    _, cost = await meter.of(client.notify("notifications/cancelled", {"requestId": "x"}))
    table.row("cancelled before its request", cost, 1, 0)


async def test_delete_elsewhere(client: SessionClient, meter: Meter, table: Table, there: dict[str, Any]) -> None:
    stream = await client.get()
    assert await stream.frame()
    answer, cost = await meter.of(client.delete(**there))
    assert answer.status == 204
    table.row("DELETE on another node than the GET stream", cost, 1, 1)


async def test_delete_elsewhere_in_mid_call(
    client: SessionClient, call: Answer, gate: Gate, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    answer, cost = await meter.of(client.delete(**there))
    assert answer.status == 204
    await gate.wait(gate.left)
    table.row("DELETE on another node, and the end of the call", cost, 1, 1)


async def test_a_silent_call_becomes_a_stream(
    client: SessionClient, gate: Gate, clock: FakeClock, meter: Meter, table: Table
) -> None:
    _, cost = await meter.of(silent(clock, gate.entered, client.call("blocked")))
    table.row("tools/call, a stream after SSE_AFTER", cost, 1, 1)


async def test_an_announcement(
    client: SessionClient, nodes: tuple[Endpoint, Endpoint], meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    other = SessionClient(nodes[1])
    await other.open()
    streams = [await client.get(**there), await other.get()]
    assert [await stream.frame() for stream in streams]
    reading = [asyncio.ensure_future(stream.message()) for stream in streams]
    work = nodes[0].kernel.bus.publish(ToolsListChanged())
    _, cost = await meter.of(work)
    cost.behind += (await meter.rest()).behind
    assert {(await message)["method"] for message in reading} == {"notifications/tools/list_changed"}
    # Each node reads the bus; each session that is held takes an EMIT, and its holder a READ.
    table.row("announcement, two nodes, two sessions held elsewhere", cost, 2, 3)


async def test_an_announcement_of_a_resource(
    client: SessionClient, nodes: tuple[Endpoint, Endpoint], meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    await client.request("resources/subscribe", {"uri": "test://watched"})
    stream = await client.get(**there)
    assert await stream.frame()
    reading = asyncio.ensure_future(stream.message())
    _, cost = await meter.of(nodes[0].kernel.bus.publish(ResourceUpdated(uri="test://watched")))
    cost.behind += (await meter.rest()).behind
    assert (await reading)["params"]["uri"] == "test://watched"
    table.row("announcement of a resource to its subscriber", cost, 2, 3)


async def test_an_idle_node_listens_and_renews_its_lease(server: RedisServer, clock: FakeClock, gate: Gate) -> None:
    policy = Policy(lease=0.9)
    backend, monitor = build(server, policy), Monitor()
    server.cli("FLUSHALL")
    endpoint = Endpoint(Kernel(build_tools(gate)), backend, policy, keys=KEYS, clock=clock)
    await endpoint.pool.node()
    await monitor.open(server)
    async with asyncio.timeout(60):
        while not (waiting := server.cli("CLIENT", "LIST").count(" flags=b ")):
            await settle()
    assert waiting == 1, "the inbox is the one connection that waits"
    began, found = time.monotonic(), await monitor.take()
    async with asyncio.timeout(60):
        while found["HEARTBEAT"] < 4:
            await asyncio.sleep(0.01)
            found += await monitor.take()
    took = time.monotonic() - began
    await monitor.close()
    await endpoint.pool.stop()
    assert set(found) == {"HEARTBEAT", "NODES"}
    assert found["HEARTBEAT"] - found["NODES"] in (0, 1), "it checks other nodes right after a heartbeat"
    assert took >= (found["HEARTBEAT"] - 2) * policy.lease / 3, "more heartbeats than necessary"
