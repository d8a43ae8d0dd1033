"""Cancelled requests: while they run, on any node, before they came, in a batch, and when nothing fits the notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.backends.contracts import CANCEL_KEEP_SECONDS
from mcp_transport.domain.node_messages import CancelCall
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, SessionClient, request, silent, text_of, until
from tests.support.clock import FakeClock
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate

NOTICE = "notifications/cancelled"
CANCELLED = -32800


async def cancel(client: SessionClient, id: Any, **options: Any) -> None:
    answer = await client.notify(NOTICE, {"requestId": id}, **options)
    assert (answer.status, answer.body) == (202, b"")


# -- while it runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
async def test_a_cancelled_call_ends_without_an_answer(
    here: SessionClient, nodes: tuple[Endpoint, Endpoint], clock: FakeClock, gate: Gate, where: int
) -> None:
    answer = await silent(clock, gate.entered, here.call("blocked", id="c"))
    await cancel(here, "c", endpoint=nodes[where])
    await gate.wait(gate.left)
    assert gate.cancelled
    assert await answer.messages() == []


async def test_a_cancelled_call_takes_its_question_back(client: SessionClient) -> None:
    answer = await client.call("ask", id="c")
    question = await answer.message()
    await cancel(client, "c")
    (taken_back,) = await answer.messages()
    assert (taken_back["method"], taken_back["params"]["requestId"]) == (NOTICE, question["id"])
    assert set(await left_behind(client.endpoint)) == {"sessions"}


@pytest.mark.parametrize(
    "params", [{}, {"requestId": None}, {"requestId": True}, {"requestId": 1.0}, {"requestId": "1"}, [1]], ids=str
)
async def test_a_cancellation_that_does_not_name_the_request_stops_nothing(
    client: SessionClient, clock: FakeClock, gate: Gate, params: Any
) -> None:
    answer = await silent(clock, gate.entered, client.call("blocked", id=1))
    assert (await client.post({"jsonrpc": "2.0", "method": NOTICE, "params": params})).status == 202
    gate.open.set()
    assert await answer.text() == "through"


async def test_a_cancelled_member_of_a_batch_leaves_the_others_alone(old: SessionClient, gate: Gate) -> None:
    blocked = request("tools/call", {"name": "blocked", "arguments": {}}, id=1)
    task = asyncio.ensure_future(old.post([blocked, request("ping", id=2)]))
    await gate.wait(gate.entered)
    await cancel(old, 1)
    assert [message["id"] for message in (await task).json] == [2]
    assert gate.cancelled


# -- before it came -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
async def test_a_request_that_its_cancellation_overtook_is_answered_with_an_error(
    here: SessionClient, nodes: tuple[Endpoint, Endpoint], gate: Gate, where: int
) -> None:
    there: dict[str, Any] = {"endpoint": nodes[where]}
    await cancel(here, 18)
    assert (await here.request("ping", id=17, **there)).json["result"] == {}
    answer = await here.call("count", {"steps": 1}, id=18, **there)
    assert (answer.status, answer.error_code, answer.json["id"]) == (200, CANCELLED, 18)
    assert (await here.request("ping", id=19, **there)).json["result"] == {}
    assert gate.runs == 0
    assert set(await left_behind(here.endpoint)) == {"sessions"}


async def test_a_client_that_takes_events_alone_gets_the_error_as_one(client: SessionClient) -> None:
    await cancel(client, 18)
    answer = await client.request("ping", id=18, headers={"accept": "text/event-stream"})
    assert answer.body.startswith(b"event: message")
    assert b"-32800" in answer.body


async def test_a_cancellation_waits_for_its_request_for_two_seconds(client: SessionClient, clock: FakeClock) -> None:
    await cancel(client, 18)
    await clock.advance(CANCEL_KEEP_SECONDS + 0.1)
    assert (await client.request("ping", id=18)).json["result"] == {}


async def test_a_cancellation_that_meets_a_request_on_its_way_in_counts(
    store: FlakyBackend, here: SessionClient, nodes: tuple[Endpoint, Endpoint], gate: Gate
) -> None:
    store.hold("enter")
    answer = asyncio.ensure_future(here.call("add", {"a": 1, "b": 2}, id=7))
    await until(lambda: "enter" in store.calls)
    (await nodes[0].pool.node()).receive(CancelCall(session_key(here.session_id), 7))
    store.held["enter"].set()
    assert (await answer).error_code == CANCELLED
    assert gate.runs == 0


async def test_early_cancellations_of_one_session_are_bounded(client: SessionClient) -> None:
    for number in range(300):
        await cancel(client, number)
    answers = [await client.request("ping", id=number) for number in range(300)]
    assert sum("error" in answer.json for answer in answers) == 100


@pytest.mark.parametrize("early", [[2], [1, 3], [1, 2, 3]])
async def test_requests_of_a_batch_that_were_cancelled_before_they_came(old: SessionClient, early: list[int]) -> None:
    for request_id in early:
        await cancel(old, request_id)
    answer = await old.post([request("ping", id=number) for number in (1, 2, 3)])
    codes = {item["id"]: item.get("error", {}).get("code") for item in answer.json}
    assert codes == {number: CANCELLED if number in early else None for number in (1, 2, 3)}


async def test_a_batch_on_a_stream_tells_of_those_that_were_cancelled_before(old: SessionClient, gate: Gate) -> None:
    await cancel(old, 1)
    gate.open.set()
    count = request("tools/call", {"name": "count", "arguments": {"steps": 1}, "_meta": {"progressToken": 1}}, id=2)
    messages = await (await old.post([request("ping", id=1), count])).messages()
    assert [item["error"]["code"] for item in messages if item.get("id") == 1] == [CANCELLED]
    assert [text_of(item) for item in messages if item.get("id") == 2] == ["counted"]


# -- notices, and other notifications, that are not as they should be ---------------------------------


NO_IDS: list[Any] = [None, 1.5, True, [], {}, "x" * 300, 10**300]
MALFORMED: list[dict[str, Any]] = [
    *({"method": NOTICE, "params": {"requestId": id}} for id in NO_IDS),
    *({"method": NOTICE, "params": params} for params in ({}, {"reason": "tired"}, [1], "1", None)),
    {"method": NOTICE},
    {"method": "notifications/progress"},
    {"method": "notifications/progress", "params": {"progress": 1}},
    {"method": "notifications/progress", "params": {"progressToken": [], "progress": "x"}},
    {"method": "notifications/initialized", "params": []},
    {"method": "notifications/roots/list_changed", "params": "all"},
    {"method": "notifications/initialized", "params": {"_meta": 5}},
    {"method": "notifications/unheard_of", "params": {"a": 1}},
    {"method": "tools/list"},
    {"method": "nonsense", "params": None},
]


async def test_malformed_and_unknown_notifications_are_accepted_and_ignored(
    client: SessionClient, caplog: pytest.LogCaptureFixture
) -> None:
    for note in MALFORMED:
        answer = await client.post({"jsonrpc": "2.0", **note})
        assert (answer.status, answer.body) == (202, b""), note
        assert (await client.request("ping")).json["result"] == {}, note
    assert set(await left_behind(client.endpoint)) == {"sessions"}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_notification_whose_method_is_no_string_is_no_message(client: SessionClient) -> None:
    answer: Answer = await client.post({"jsonrpc": "2.0", "method": 5})
    assert (answer.status, answer.error_code, "id" in answer.json) == (400, -32600, False)
