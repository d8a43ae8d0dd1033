"""A node's life: one on each loop, started by its first request, stopped without leaving anything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_transport.engine.observer import Happening
from mcp_transport.protocol.inbox import Drain
from tests.support.client import SessionClient, request, send, send_sessionless, silent, text_of
from tests.support.clock import settle
from tests.support.stores import FlakyBackend
from tests.support.tools import Gate, build_tools

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
INITIALIZE = request(
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
)


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
async def store(endpoint: Any, clock: Any) -> FlakyBackend:
    return FlakyBackend(endpoint.policy, clock.now)


@pytest.fixture
async def lived(build_endpoint: Any, store: FlakyBackend, gate: Gate, lifespan: Lifespan) -> Any:
    """An endpoint whose server has a lifespan."""
    return build_endpoint(store, build_tools(gate, lifespan=lifespan))


async def add(endpoint: Any) -> Any:
    return await send_sessionless(endpoint, "tools/call", ADD)


def tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks()


# -- starting -----------------------------------------------------------------------------------------


async def test_nothing_starts_before_the_first_request(lived, lifespan, store):
    await settle()
    assert (lifespan.events, store.calls) == ([], [])


async def test_the_lifespan_is_entered_once_for_many_requests(lived, lifespan, store):
    answers = await asyncio.gather(*(add(lived) for _ in range(5)))
    await add(lived)
    assert [text_of(answer.json) for answer in answers] == ["3"] * 5
    assert (lifespan.events, store.calls.count("start")) == (["entered"], 1)


async def test_a_refused_request_starts_nothing(lived, lifespan):
    assert (await send(lived, raw=b"{")).status == 400
    assert lifespan.events == []


async def test_each_loop_has_a_node_of_its_own(endpoint):
    async def elsewhere() -> tuple[str, str]:
        node = await endpoint.node()
        answer = await add(endpoint)
        await endpoint.stop()
        return node.id, text_of(answer.json)

    here = await endpoint.node()
    assert await endpoint.node() is here
    there, text = await asyncio.to_thread(asyncio.run, elsewhere())
    assert there != here.id
    assert text == "3"
    assert text_of((await add(endpoint)).json) == "3"
    assert await endpoint.node() is here


async def test_a_stop_on_one_loop_leaves_the_streams_of_another(endpoint):
    listening = {"notifications": {"toolsListChanged": True}}
    answer = await send_sessionless(endpoint, "subscriptions/listen", listening)
    await answer.message()
    in_between = threading.Event()

    async def elsewhere() -> None:
        await send_sessionless(endpoint, "tools/list")
        await endpoint.stop()
        in_between.set()

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert in_between.is_set()
    await send_sessionless(endpoint, "tools/call", {"name": "announce", "arguments": {}})
    assert (await answer.message()).get("method") == "notifications/tools/list_changed"


async def test_a_start_that_failed_is_tried_again_by_the_next_request(lived, lifespan, store):
    lifespan.failures = 1
    failed = await add(lived)
    assert (failed.status, failed.error_code) == (500, -32603)
    assert b"cannot begin" not in failed.body
    assert text_of((await add(lived)).json) == "3"
    assert lifespan.events == ["entered"]
    await lived.stop()
    assert store.calls.count("start") == store.calls.count("stop"), "a node that never began stays registered"


async def test_a_store_that_is_away_at_the_start_is_tried_again(lived, store):
    store.away = {"*"}
    answer = await send(lived, body=INITIALIZE)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    store.away.clear()
    assert (await send(lived, body=INITIALIZE)).status == 200


async def test_a_start_goes_on_when_its_first_request_leaves(lived, lifespan):
    lifespan.may_enter.clear()
    first = asyncio.ensure_future(add(lived))
    await asyncio.wait_for(lifespan.entering.wait(), 5)
    first.cancel()
    await asyncio.wait([first])
    lifespan.may_enter.set()
    assert text_of((await add(lived)).json) == "3"
    assert lifespan.events == ["entered"]


async def test_a_start_that_failed_after_its_request_left_is_tried_again_by_the_next(lived, lifespan):
    lifespan.may_enter.clear()
    lifespan.failures = 1
    first = asyncio.ensure_future(add(lived))
    await asyncio.wait_for(lifespan.entering.wait(), 5)
    first.cancel()
    await asyncio.wait([first])
    lifespan.may_enter.set()
    await settle()
    assert await lived.why_not_ready() == ""
    assert (await add(lived)).status == 200


# -- stopping -----------------------------------------------------------------------------------------


async def test_a_stop_ends_everything(lived, lifespan, clock, gate, store):
    before = tasks()
    client = SessionClient(lived)
    await client.open()
    stream = await client.get()
    await stream.frame()
    call = await silent(clock, gate.entered, client.call("blocked"))
    listener = await send_sessionless(lived, "subscriptions/listen", {"notifications": {}})
    async with asyncio.timeout(5):
        await lived.stop()
    assert gate.cancelled
    assert await stream.messages() == []
    assert not any("result" in message for message in await call.messages())
    assert "result" in (await listener.messages())[-1]
    assert lifespan.events[0] == "entered"
    assert len(lifespan.events) == 2
    assert tasks() - before == set(), "tasks outlive their node"
    assert store.calls.count("stop") == 1


async def test_the_lifespan_is_left_after_the_handlers(lived, lifespan, gate):
    client = SessionClient(lived)
    await client.open()
    task = asyncio.ensure_future(client.call("blocked"))
    await gate.wait(gate.entered)
    await lived.stop()
    assert gate.cancelled
    assert lifespan.events == ["entered", "left after the handlers"]
    await asyncio.wait([task], timeout=5)


async def test_a_stop_without_a_start_does_nothing(lived, lifespan, store):
    await lived.stop()
    assert (lifespan.events, store.calls) == ([], [])


async def test_a_second_stop_does_nothing(lived, lifespan, store):
    await add(lived)
    await lived.stop()
    await lived.stop()
    assert (lifespan.events, store.calls.count("stop")) == (["entered", "left"], 1)


async def test_a_request_after_a_stop_begins_anew(lived, lifespan):
    await add(lived)
    await lived.stop()
    assert text_of((await add(lived)).json) == "3"
    await lived.stop()
    assert lifespan.events == ["entered", "left"] * 2


async def test_a_stop_leaves_sessions_to_the_other_nodes(lived, build_endpoint, store):
    client = SessionClient(lived)
    await client.open()
    await lived.stop()
    assert (await client.request("ping", endpoint=build_endpoint(store))).status == 200


async def test_a_stop_while_the_store_is_away_still_leaves_the_lifespan(lived, lifespan, store):
    await add(lived)
    store.away = {"*"}
    await lived.stop()
    store.away.clear()
    assert lifespan.events == ["entered", "left"]


# -- readiness ----------------------------------------------------------------------------------------


async def test_it_is_ready_before_and_after_the_first_request(lived):
    assert await lived.why_not_ready() == ""
    await add(lived)
    assert await lived.why_not_ready() == ""


async def test_it_is_not_ready_while_the_store_is_away(lived, store, caplog):
    store.away = {"*"}
    assert await lived.why_not_ready() == "the session store cannot be reached"
    assert "this process is not ready: the store is away" in caplog.text
    store.away.clear()
    assert await lived.why_not_ready() == ""


async def test_a_node_that_could_not_join_does_when_it_is_asked_whether_it_is_ready(lived, store):
    store.away = {"start"}
    await add(lived)
    assert await lived.why_not_ready() == "the session store cannot be reached"
    store.away.clear()
    assert await lived.why_not_ready() == ""
    (node,) = lived.nodes
    assert await store.send(node.id, Drain())


async def test_it_is_not_ready_while_it_stops(lived, lifespan):
    await add(lived)
    lifespan.may_leave.clear()
    stopping = asyncio.ensure_future(lived.stop())
    await asyncio.wait_for(lifespan.leaving.wait(), 5)
    reason = await lived.why_not_ready()
    lifespan.may_leave.set()
    await stopping
    assert reason == "draining"


async def test_nothing_follows_the_error_of_a_call_that_its_node_has_ended(endpoint, gate):
    client = SessionClient(endpoint)
    await client.open()
    answer = await client.call("count", {"steps": 2})
    assert await answer.frame() is not None
    await settle()
    node = await endpoint.node()
    [call] = node.running
    call.abandon("the server stopped", Happening.ABANDONED)
    call.writer.write(b'{"jsonrpc": "2.0", "method": "notifications/message"}')
    await call.exchange().notify("notifications/message", {})
    messages = await answer.messages()
    assert "error" in messages[-1]
