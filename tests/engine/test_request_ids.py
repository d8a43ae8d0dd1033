"""The id of a request: free with its answer, on any node; the same request sent again joins the one that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, later, request, silent, text_of, until
from tests.support.clock import FakeClock, settle
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate

ADD = {"a": 1, "b": 2}
OTHER = {"name": "add", "arguments": {"a": 2, "b": 2}}
Nodes = tuple[Endpoint, Endpoint]
old_only = pytest.mark.parametrize("version", ["2025-03-26"], indirect=True)


@pytest.fixture(params=["2025-11-25", "2025-03-26"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def here(nodes: Nodes, version: str) -> SessionClient:
    return await opened(nodes[0], version=version)


@pytest.fixture(params=["the same node", "the other node"])
def then(request: pytest.FixtureRequest, nodes: Nodes) -> dict[str, Any]:
    """Where the second request goes."""
    return {"endpoint": nodes[request.param == "the other node"]}


async def behind(store: FlakyBackend, operation: str, work: Awaitable[Answer]) -> Answer:
    """Do `work` while the books are behind, and let them catch up as soon as somebody waits for that."""
    task = asyncio.ensure_future(work)
    await settle()
    assert not task.done(), "nobody waited for the books"
    store.held[operation].set()
    async with asyncio.timeout(60):
        return await task


def results(messages: list[dict[str, Any]]) -> list[Any]:
    """Return the progress and the text that a call has told."""
    return [item["params"]["progress"] if "method" in item else text_of(item) for item in messages]


# -- an answer frees the id ---------------------------------------------------------------------------


async def test_an_id_whose_answer_left_as_json_is_free_though_the_books_are_behind(
    store: FlakyBackend, here: SessionClient, then: dict[str, Any], gate: Gate
) -> None:
    store.hold("leave")
    assert text_of((await here.call("add", ADD, id=7)).json) == "3"
    answer = await behind(store, "leave", here.request("tools/call", OTHER, id=7, **then))
    assert text_of(answer.json) == "4"
    store.hold("leave")
    again = await here.call("add", ADD, id=7)
    last = await behind(store, "leave", here.call("add", ADD, id=7, **then))
    assert (again.json, gate.runs) == (last.json, 4), "the same request after its answer runs again"


async def test_an_id_whose_answer_left_on_a_stream_is_free(
    store: FlakyBackend, here: SessionClient, then: dict[str, Any], gate: Gate
) -> None:
    gate.open.set()
    store.hold("append")
    first = await here.call("count", {"steps": 1}, id=7)
    assert await first.text() == "counted"
    answer = await behind(store, "append", here.request("tools/call", OTHER, id=7, **then))
    assert text_of(answer.json) == "4"


@old_only
async def test_the_ids_of_a_batch_are_free_after_its_answer(
    store: FlakyBackend, here: SessionClient, then: dict[str, Any]
) -> None:
    store.hold("leave")
    await here.post([request("ping", id=7), request("ping", id=8)])
    answer = await behind(store, "leave", here.post([request("tools/list", id=8), request("ping", id=7)], **then))
    assert {item["id"]: "tools" in item["result"] for item in answer.json} == {7: False, 8: True}


@old_only
async def test_an_id_is_free_as_soon_as_its_answer_of_a_batch_left_on_a_stream(
    here: SessionClient, then: dict[str, Any], gate: Gate, clock: FakeClock
) -> None:
    slow = request("tools/call", {"name": "blocked", "arguments": {}}, id=8)
    stream = await silent(clock, gate.entered, here.post([request("ping", id=7), slow]))
    assert (await stream.message())["id"] == 7
    again = await here.request("tools/call", OTHER, id=7, **then)
    assert text_of(again.json) == "4"
    third = await silent(clock, gate.entered, here.call("count", {"steps": 1}, id=7, **then))
    gate.open.set()
    assert (await stream.message())["id"] == 8
    await settle()
    assert await third.text() == "counted", "the batch's end leaves the new request alone"


async def test_one_id_for_everything(here: SessionClient, nodes: Nodes) -> None:
    for number in range(20):
        answer = await here.call("add", {"a": number, "b": 0}, id=1, endpoint=nodes[number % 2])
        assert text_of(answer.json) == str(number)
    assert set(await left_behind(here.endpoint)) == {"sessions"}


async def test_a_request_that_never_ran_frees_its_id(
    store: FlakyBackend, here: SessionClient, then: dict[str, Any]
) -> None:
    store.hold("enter")
    lost = asyncio.ensure_future(here.call("add", ADD, id=7))
    await until(lambda: "enter" in store.calls)
    store.hold("leave")
    lost.cancel()
    store.held["enter"].set()
    await settle()
    answer = asyncio.ensure_future(here.request("tools/call", OTHER, id=7, **then))
    await settle()
    store.held["leave"].set()
    assert text_of((await answer).json) == "4"


# -- another request with the id of one that runs ------------------------------------------------------


@pytest.mark.parametrize("speaks", [False, True])
async def test_another_request_with_the_id_of_one_that_runs_is_refused_on_any_node(
    here: SessionClient, then: dict[str, Any], gate: Gate, clock: FakeClock, speaks: bool
) -> None:
    tool, arguments = ("count", {"steps": 1}) if speaks else ("blocked", {})
    first = await silent(clock, gate.entered, here.call(tool, arguments, id=7))
    refused = await here.request("tools/call", OTHER, id=7, **then)
    assert (refused.status, refused.error_code, refused.json["id"]) == (400, -32600, 7)
    other = await here.request("tools/call", OTHER, id="7", **then)
    assert text_of(other.json) == "4", "an id of another type is another one"
    gate.open.set()
    assert await first.text() == ("counted" if speaks else "through")
    assert set(await left_behind(here.endpoint)) == {"sessions"}


async def test_a_request_that_is_about_to_be_let_in_keeps_its_id(
    store: FlakyBackend, here: SessionClient, then: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter, is_registered, may_return = store.enter, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **options: Any) -> Any:
        entered = await enter(*args, **options)
        if not is_registered.is_set():
            is_registered.set()
            await may_return.wait()
        return entered

    monkeypatch.setattr(store, "enter", slow)
    first = asyncio.ensure_future(here.call("add", ADD, id=7))
    await asyncio.wait_for(is_registered.wait(), 5)
    refused = await here.request("tools/call", OTHER, id=7, **then)
    assert (refused.status, refused.json["id"]) == (400, 7)
    may_return.set()
    assert text_of((await first).json) == "3"


async def test_a_node_that_does_not_say_whether_a_request_is_over_costs_a_try(
    here: SessionClient, nodes: Nodes, gate: Gate, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await silent(clock, gate.entered, here.call("blocked", id=7))
    monkeypatch.setattr((await nodes[0].pool.node()).stale_requests, "receive", lambda message: None)
    refused = await later(clock, 2.0, here.request("tools/call", OTHER, id=7, endpoint=nodes[1]))
    assert (refused.status, refused.json["id"], refused.headers["retry-after"]) == (503, 7, "2")


async def test_a_retry_that_takes_only_json_is_refused(client: SessionClient, clock: FakeClock, gate: Gate) -> None:
    first = await silent(clock, gate.entered, client.call("blocked", id=1))
    refused = await client.call("blocked", id=1, headers={"accept": "application/json"})
    assert (refused.status, refused.error_code, gate.runs) == (400, -32600, 1)
    gate.open.set()
    assert await first.text() == "through"


# -- a POST that is sent again ------------------------------------------------------------------------


async def test_a_retry_gets_the_stream_of_the_first_and_the_tool_runs_once(
    here: SessionClient, then: dict[str, Any], gate: Gate
) -> None:
    first = await here.call("count", {"steps": 2}, id=1)
    await first.frame()
    await settle()
    again = await here.call("count", {"steps": 2}, id=1, **then)
    gate.open.set()
    assert results(await again.messages()) == [1, 2, 3, "counted"]
    assert gate.runs == 1
    assert not any("result" in message for message in await first.messages())


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["before an answer began", "beside a stream"])
async def test_a_retry_of_a_silent_call_gets_the_answer(
    here: SessionClient, then: dict[str, Any], clock: FakeClock, gate: Gate, seconds: float
) -> None:
    first = asyncio.ensure_future(here.call("blocked", id=1))
    await gate.wait(gate.entered)
    await clock.advance(seconds)
    again = await here.call("blocked", id=1, **then)
    reading = asyncio.ensure_future(again.text())
    await clock.advance(1.0)
    gate.open.set()
    assert await reading == "through"
    await (await first).messages()
    assert gate.runs == 1
    assert set(await left_behind(here.endpoint)) == {"sessions"}


async def test_a_retry_gets_what_a_node_that_does_not_say_so_has_just_answered(
    client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent_node(*_: Any) -> None:
        """Say nothing, as a node of the previous release."""

    monkeypatch.setattr((await client.endpoint.pool.node()).stale_requests, "have_ended", silent_node)
    backend, may_leave = client.endpoint.backend, asyncio.Event()
    leave, attach = backend.sessions.leave, backend.streams.attach

    async def late(*arguments: Any, **options: Any) -> bool:
        await may_leave.wait()
        return await leave(*arguments, **options)

    async def early(*arguments: Any) -> Any:
        attached = await attach(*arguments)
        may_leave.set()
        await settle()
        return attached

    monkeypatch.setattr(backend.sessions, "leave", late)
    monkeypatch.setattr(backend.streams, "attach", early)
    assert (await client.request("ping", id=1)).json["id"] == 1
    again = await client.request("ping", id=1)
    assert [message["id"] for message in await again.messages()] == [1]
    assert set(await left_behind(client.endpoint)) <= {"sessions", "logs"}


async def test_a_retry_finds_its_own_sessions_call(endpoint: Endpoint, gate: Gate) -> None:
    clients = [await opened(endpoint) for _ in range(2)]
    firsts = [asyncio.ensure_future(client.call("blocked", id=1)) for client in clients]
    await until(lambda: gate.runs == 2)
    agains = [await client.call("blocked", id=1) for client in clients]
    gate.open.set()
    assert [await again.text() for again in agains] == ["through"] * 2
    await asyncio.wait(firsts)
    assert gate.runs == 2


async def test_a_retry_of_a_batch_gets_the_stream_of_the_first(old: SessionClient, gate: Gate) -> None:
    params = {"name": "count", "arguments": {"steps": 1}}
    batch = [request("tools/call", {**params, "_meta": {"progressToken": id}}, id=id) for id in (1, 2)]
    await old.post(batch)
    again = await old.post(batch)
    gate.open.set()
    answered = [message["id"] for message in await again.messages() if "result" in message]
    assert (sorted(answered), gate.runs) == ([1, 2], 2)


async def test_a_retry_finds_the_call_of_a_client_that_left_before_its_answer_began(
    client: SessionClient, gate: Gate
) -> None:
    task = asyncio.ensure_future(client.call("blocked", id=1))
    await gate.wait(gate.entered)
    task.cancel()
    await asyncio.wait([task])
    await settle()
    assert not gate.left.is_set()
    again = await client.call("blocked", id=1)
    gate.open.set()
    assert await again.text() == "through"
    assert gate.runs == 1


async def test_a_client_that_left_during_the_round_trip_to_the_store_may_send_again(
    store: FlakyBackend, here: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = store.enter

    async def slow(*args: Any, **options: Any) -> Any:
        await entered(*args, **options)
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(store, "enter", slow)
        task = asyncio.ensure_future(here.call("add", ADD, id=1))
        await settle()
        task.cancel()
        await asyncio.wait([task])
    await settle()
    again = await here.call("add", ADD, id=1)
    assert again.status == 200, again.body
    assert text_of(again.json if again.stream is None else (await again.messages())[-1]) == "3"
