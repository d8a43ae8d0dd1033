"""A client that uses the id of a request again: it is served as soon as it has the first answer, on any node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from mcp_transport.backends.base import CANCEL_KEEP
from mcp_transport.protocol.inbox import CancelCall
from mcp_transport.protocol.session import session_key
from tests.support.client import Answer, SessionClient, later, request, silent, text_of, until
from tests.support.clock import settle
from tests.support.stores import FlakyBackend, left_behind

OTHER = {"name": "add", "arguments": {"a": 2, "b": 2}}
CANCELLED = -32800


@pytest.fixture
async def store(endpoint: Any, clock: Any) -> FlakyBackend:
    return FlakyBackend(endpoint.policy, clock.now)


@pytest.fixture
async def nodes(build_endpoint: Any, store: FlakyBackend) -> tuple[Any, Any]:
    return build_endpoint(store), build_endpoint(store)


@pytest.fixture(params=["2025-11-25", "2025-03-26"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def here(nodes: Any, version: str) -> SessionClient:
    client = SessionClient(nodes[0], version)
    await client.open()
    return client


@pytest.fixture(params=["the same node", "the other node"])
def then(request: pytest.FixtureRequest, nodes: Any) -> dict[str, Any]:
    """Where the second request goes."""
    return {"endpoint": nodes[1 if request.param == "the other node" else 0]}


async def behind(store: FlakyBackend, operation: str, work: Awaitable[Answer]) -> Answer:
    """Do `work` while the books are behind, and let them catch up as soon as somebody waits for that."""
    held = store.held[operation]
    task = asyncio.ensure_future(work)
    await settle()
    assert not task.done(), "nobody waited for the books"
    held.set()
    async with asyncio.timeout(5):
        return await task


def hold(store: FlakyBackend, operation: str) -> None:
    store.held[operation] = asyncio.Event()
    store.calls.clear()


async def test_an_id_whose_answer_left_as_json_is_free_though_the_books_are_behind(store, here, then):
    hold(store, "leave")
    assert text_of((await here.call("add", {"a": 1, "b": 2}, id=7)).json) == "3"
    answer = await behind(store, "leave", here.request("tools/call", OTHER, id=7, **then))
    assert text_of(answer.json) == "4"


async def test_the_same_request_again_after_its_answer_runs_again(store, here, then, gate):
    hold(store, "leave")
    first = await here.call("add", {"a": 1, "b": 2}, id=7)
    second = await behind(store, "leave", here.call("add", {"a": 1, "b": 2}, id=7, **then))
    assert first.json == second.json
    assert gate.runs == 2


async def test_an_id_whose_answer_left_on_a_stream_is_free(store, here, then, gate):
    gate.open.set()
    hold(store, "append")
    first = await here.call("count", {"steps": 1}, id=7)
    assert text_of((await first.messages())[-1]) == "counted"
    answer = await behind(store, "append", here.request("tools/call", OTHER, id=7, **then))
    assert text_of(answer.json) == "4"


@pytest.mark.parametrize("version", ["2025-03-26"], indirect=True)
async def test_the_ids_of_a_batch_are_free_after_its_answer(store, here, then):
    batch = [request("ping", id=7), request("ping", id=8)]
    hold(store, "leave")
    await here.post(batch)
    answer = await behind(store, "leave", here.post([request("tools/list", id=8), request("ping", id=7)], **then))
    assert {item["id"]: "tools" in item["result"] for item in answer.json} == {7: False, 8: True}


@pytest.mark.parametrize("version", ["2025-03-26"], indirect=True)
async def test_an_id_is_free_as_soon_as_its_answer_of_a_batch_left_on_a_stream(store, here, then, gate, clock):
    slow = request("tools/call", {"name": "blocked", "arguments": {}}, id=8)
    stream = await silent(clock, gate.entered, here.post([request("ping", id=7), slow]))
    assert (await stream.message())["id"] == 7
    again = await here.request("tools/call", OTHER, id=7, **then)
    assert text_of(again.json) == "4"
    third = await silent(clock, gate.entered, here.call("count", {"steps": 1}, id=7, **then))
    gate.open.set()
    assert (await stream.message())["id"] == 8
    await settle()
    assert text_of((await third.messages())[-1]) == "counted", "the batch's end leaves the new request alone"


async def test_one_id_for_everything(here, nodes):
    for number in range(20):
        answer = await here.call("add", {"a": number, "b": 0}, id=1, endpoint=nodes[number % 2])
        assert text_of(answer.json) == str(number)
    assert set(await left_behind(here.endpoint)) == {"sessions"}


async def test_another_request_with_the_id_of_one_that_runs_is_refused_on_any_node(here, then, gate, clock):
    first = await silent(clock, gate.entered, here.call("blocked", id=7))
    refused = await here.request("tools/call", OTHER, id=7, **then)
    assert (refused.status, refused.error_code, refused.json["id"]) == (400, -32600, 7)
    gate.open.set()
    assert text_of((await first.messages())[-1]) == "through"


async def test_the_same_request_as_one_that_runs_joins_it(here, then, gate, clock):
    first = await silent(clock, gate.entered, here.call("blocked", id=7))
    again = await here.call("blocked", id=7, **then)
    await first.messages()
    gate.open.set()
    assert text_of((await again.messages())[-1]) == "through"
    assert gate.runs == 1


async def test_a_node_that_does_not_say_whether_a_request_is_over_costs_a_try(here, nodes, gate, clock, monkeypatch):
    await silent(clock, gate.entered, here.call("blocked", id=7))
    monkeypatch.setattr((await nodes[0].node()).clearing, "receive", lambda message: None)
    refused = await later(clock, 2.0, here.request("tools/call", OTHER, id=7, endpoint=nodes[1]))
    assert (refused.status, refused.json["id"], refused.headers["retry-after"]) == (503, 7, "2")


async def test_a_request_that_never_ran_frees_its_id(store, here, then):
    hold(store, "enter")
    lost = asyncio.ensure_future(here.call("add", {"a": 1, "b": 2}, id=7))
    await until(lambda: "enter" in store.calls)
    hold(store, "leave")
    lost.cancel()
    store.held["enter"].set()
    await settle()
    answer = asyncio.ensure_future(here.request("tools/call", OTHER, id=7, **then))
    await settle()
    store.held["leave"].set()
    assert text_of((await answer).json) == "4"


# -- cancelled before they came ------------------------------------------------------------------------


async def test_a_request_that_its_cancellation_overtook_is_answered_with_an_error(here, then, gate):
    await here.notify("notifications/cancelled", {"requestId": 18})
    assert (await here.request("ping", id=17, **then)).json["result"] == {}
    answer = await here.call("count", {"steps": 1}, id=18, **then)
    assert (answer.status, answer.error_code, answer.json["id"]) == (200, CANCELLED, 18)
    assert (await here.request("ping", id=19, **then)).json["result"] == {}
    assert gate.runs == 0
    assert set(await left_behind(here.endpoint)) == {"sessions"}


async def test_a_client_that_takes_events_alone_gets_the_error_as_one(here):
    await here.notify("notifications/cancelled", {"requestId": 18})
    answer = await here.request("ping", id=18, headers={"accept": "text/event-stream"})
    assert answer.body.startswith(b"event: message")
    assert b"-32800" in answer.body


async def test_a_cancellation_waits_for_its_request_for_two_seconds(here, clock):
    await here.notify("notifications/cancelled", {"requestId": 18})
    await clock.advance(CANCEL_KEEP + 0.1)
    assert (await here.request("ping", id=18)).json["result"] == {}


@pytest.mark.parametrize("version", ["2025-03-26"], indirect=True)
@pytest.mark.parametrize("early", [[2], [1, 3], [1, 2, 3]])
async def test_requests_of_a_batch_that_were_cancelled_before_they_came(here, early):
    for request_id in early:
        await here.notify("notifications/cancelled", {"requestId": request_id})
    answer = await here.post([request("ping", id=number) for number in (1, 2, 3)])
    codes = {item["id"]: item.get("error", {}).get("code") for item in answer.json}
    assert codes == {number: CANCELLED if number in early else None for number in (1, 2, 3)}


@pytest.mark.parametrize("version", ["2025-03-26"], indirect=True)
async def test_a_batch_on_a_stream_tells_of_those_that_were_cancelled_before(here, gate):
    await here.notify("notifications/cancelled", {"requestId": 1})
    gate.open.set()
    count = request("tools/call", {"name": "count", "arguments": {"steps": 1}, "_meta": {"progressToken": 1}}, id=2)
    messages = await (await here.post([request("ping", id=1), count])).messages()
    assert [item["error"]["code"] for item in messages if item.get("id") == 1] == [CANCELLED]
    assert [text_of(item) for item in messages if item.get("id") == 2] == ["counted"]


async def test_a_cancellation_that_meets_a_request_on_its_way_in_counts(store, here, nodes, gate):
    hold(store, "enter")
    answer = asyncio.ensure_future(here.call("add", {"a": 1, "b": 2}, id=7))
    await until(lambda: "enter" in store.calls)
    (await nodes[0].node()).receive(CancelCall(session_key(here.session_id), 7))
    store.held["enter"].set()
    assert (await answer).error_code == CANCELLED
    assert gate.runs == 0
