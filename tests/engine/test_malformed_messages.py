"""Messages of a session that are not as they should be: each costs itself, and nobody waits for it in vain."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.client import Answer, SessionClient, request, send, text_of
from tests.support.stores import left_behind

ERROR = {"code": -32000, "message": "no"}
ACCEPTED = {"action": "accept", "content": {"name": "Ada"}}
NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
CANCEL = "notifications/cancelled"


@pytest.fixture
async def old(endpoint: Any) -> SessionClient:
    """A client of the revision that has batches."""
    client = SessionClient(endpoint, "2025-03-26")
    await client.open()
    return client


def add(id: Any, a: int = 1, b: int = 2) -> dict[str, Any]:
    return request("tools/call", {"name": "add", "arguments": {"a": a, "b": b}}, id=id)


# -- notifications: nobody is told what is wrong with them ---------------------------------------------

MALFORMED_NOTES = [
    *[
        {"method": CANCEL, "params": params}
        for params in (
            {},
            {"requestId": None},
            {"requestId": 1.5},
            {"requestId": True},
            {"requestId": []},
            {"requestId": {}},
            {"requestId": "x" * 300},
            {"requestId": 10**300},
            {"reason": "tired"},
            [1],
            "1",
            None,
        )
    ],
    {"method": CANCEL},
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


@pytest.mark.parametrize("note", MALFORMED_NOTES, ids=str)
async def test_a_malformed_or_unknown_notification_is_accepted_and_ignored(client, note, caplog):
    answer = await client.post({"jsonrpc": "2.0", **note})
    assert (answer.status, answer.body) == (202, b"")
    assert (await client.request("ping")).json["result"] == {}
    assert set(await left_behind(client.endpoint)) == {"sessions"}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("params", [{}, {"requestId": None}, {"requestId": True}, {"requestId": 1.0}, [1]])
async def test_a_malformed_cancellation_stops_nothing(client, gate, params):
    call = asyncio.ensure_future(client.call("blocked", id=1))
    await gate.wait(gate.entered)
    assert (await client.post({"jsonrpc": "2.0", "method": CANCEL, "params": params})).status == 202
    gate.open.set()
    assert text_of((await call).json) == "through"


async def test_a_notification_whose_method_is_no_string_is_no_message(client):
    answer = await client.post({"jsonrpc": "2.0", "method": 5})
    assert (answer.status, answer.error_code, "id" in answer.json) == (400, -32600, False)


# -- batches ---------------------------------------------------------------------------------------------


def codes(answer: Answer) -> list[tuple[Any, Any]]:
    """Return id and code of each answer; None stands for a result."""
    return [(item["id"], item.get("error", {}).get("code")) for item in answer.json]


@pytest.mark.parametrize(
    ("element", "request_id"),
    [
        (1, None),
        (None, None),
        ("ping", None),
        ([], None),
        ([add(5)], None),
        ({}, None),
        ({"foo": "boo"}, None),
        ({"jsonrpc": "2.0", "id": 5}, 5),
        ({"jsonrpc": "2.0", "id": 5, "method": 1, "params": "bar"}, 5),
        ({"jsonrpc": "1.0", "id": "x", "method": "ping"}, "x"),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, None),
        ({"jsonrpc": "2.0", "id": 5, "method": "ping", "params": []}, 5),
    ],
    ids=str,
)
async def test_a_malformed_element_of_a_batch_costs_itself(old, element, request_id):
    answer = await old.post([add(1), element, NOTE, add(2, 2, 2)])
    assert answer.status == 200
    assert codes(answer) == [(request_id, -32600), (1, None), (2, None)]
    assert set(await left_behind(old.endpoint)) == {"sessions"}


async def test_the_example_of_json_rpc_2_0(old):
    answer = await old.post([1, 2, 3])
    assert (answer.status, codes(answer)) == (400, [(None, -32600)] * 3)


async def test_an_element_with_parameters_that_are_too_long_costs_itself(old):
    answer = await old.post([add(1), request("tools/call", {"name": "x" * 600}, id=2)])
    assert codes(answer) == [(2, -32602), (1, None)]


async def test_malformed_elements_beside_notifications_are_told(old):
    answer = await old.post([NOTE, 5])
    assert (answer.status, codes(answer)) == (200, [(None, -32600)])


async def test_only_notifications_get_no_answer(old):
    answer = await old.post([NOTE, {"jsonrpc": "2.0", "method": CANCEL}])
    assert (answer.status, answer.body) == (202, b"")


async def test_a_batch_on_a_stream_tells_of_its_malformed_elements(old, gate):
    gate.open.set()
    count = request("tools/call", {"name": "count", "arguments": {"steps": 1}, "_meta": {"progressToken": 1}}, id=2)
    messages = await (await old.post([5, count])).messages()
    assert [item["error"]["code"] for item in messages if "error" in item] == [-32600]
    assert [text_of(item) for item in messages if "result" in item] == ["counted"]


@pytest.mark.parametrize("body", [[], [add(1), add(1)], [add(1), {"jsonrpc": "2.0", "id": 1}]], ids=str)
async def test_what_leaves_no_batch_is_refused_as_a_whole(old, body):
    answer = await old.post(body)
    assert (answer.status, answer.error_code, "id" in answer.json) == (400, -32600, False)


async def test_a_batch_to_an_unknown_session_is_404_whatever_its_elements_are(old):
    for body in ([5], [add(1), 5]):
        assert (await old.post(body, headers={"mcp-session-id": "A" * 43})).status == 404


# -- responses: whoever waits for one is told -----------------------------------------------------------


async def asked(client: SessionClient) -> tuple[Answer, Any]:
    """Have a tool ask its client; return the answer's stream and the id of the question."""
    stream = await client.call("ask")
    question = await stream.message()
    assert question is not None
    return stream, question["id"]


@pytest.mark.parametrize(
    "response",
    [
        {"result": ACCEPTED, "error": None},
        {"result": ACCEPTED},
        {"result": ACCEPTED, "more": 1, "params": {}},
        {"error": None, "result": ACCEPTED},
    ],
)
async def test_a_response_may_carry_what_it_is_not_as_null(client, response):
    stream, question = await asked(client)
    assert (await client.post({"jsonrpc": "2.0", "id": question, **response})).status == 202
    assert await stream.text() == "accept Ada"


async def test_an_error_may_carry_a_null_result(client):
    stream, question = await asked(client)
    assert (await client.post({"jsonrpc": "2.0", "id": question, "result": None, "error": ERROR})).status == 202
    assert "no" in json.dumps(await stream.messages())


@pytest.mark.parametrize(
    "response",
    [
        {"result": None},
        {"result": None, "error": None},
        {"error": None},
        {"result": []},
        {"result": "yes"},
        {"result": ACCEPTED, "error": ERROR},
        {"error": "no"},
        {"error": {}},
        {"error": {"code": "x", "message": "no"}},
        {"error": {"code": 1.5, "message": "no"}},
        {"error": {"code": 1}},
    ],
    ids=str,
)
async def test_whoever_waits_for_a_response_that_cannot_be_used_gets_an_error(client, response):
    stream, question = await asked(client)
    refused = await client.post({"jsonrpc": "2.0", "id": question, **response})
    assert (refused.status, refused.error_code, "id" in refused.json) == (400, -32600, False)
    last = (await stream.messages())[-1]
    assert last["error"]["code"] == -32600
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_another_session_does_not_end_a_wait_with_a_malformed_response(client, endpoint):
    stream, question = await asked(client)
    other = SessionClient(endpoint)
    await other.open()
    assert (await other.post({"jsonrpc": "2.0", "id": question, "result": None})).status == 400
    assert (await client.reply(question, ACCEPTED)).status == 202
    assert await stream.text() == "accept Ada"


async def test_responses_of_a_batch_reach_those_who_wait_whatever_the_others_are(old):
    (first, one), (second, two) = await asked(old), await asked(old)
    strange = {"jsonrpc": "2.0", "id": "x.1.y", "result": {}}
    broken = {"jsonrpc": "2.0", "id": two, "result": None}
    answer = await old.post([5, strange, broken, {"jsonrpc": "2.0", "id": one, "result": ACCEPTED}])
    assert (answer.status, codes(answer)) == (200, [(None, -32600)] * 3)
    assert await first.text() == "accept Ada"
    assert (await second.messages())[-1]["error"]["code"] == -32600


async def test_a_response_outside_of_sessions_is_refused(endpoint):
    body = {"jsonrpc": "2.0", "id": 1, "result": None}
    answer = await send(endpoint, body=body, headers={"mcp-protocol-version": "2026-07-28"})
    assert (answer.status, answer.error_code) == (400, -32600)
