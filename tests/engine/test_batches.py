"""Batches of 2025-03-26: answered with an array or on one stream; a malformed element costs itself."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, request, text_of
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate

NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call(id: Any, name: str = "add", **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments or {"a": 1, "b": 2}, "_meta": {"progressToken": id}}
    return request("tools/call", params, id=id)


def codes(answer: Answer) -> list[tuple[Any, Any]]:
    """Return id and code of each answer; None stands for a result."""
    return [(item["id"], item.get("error", {}).get("code")) for item in answer.json]


async def test_a_batch_is_answered_with_an_array(old: SessionClient) -> None:
    answer = await old.post([call(1), NOTE, call("1", a=2, b=2), request("ping", id=3)])
    assert answer.headers["content-type"] == "application/json"
    results = {message["id"]: message["result"] for message in answer.json}
    assert [results[1]["content"][0]["text"], results["1"]["content"][0]["text"], results[3]] == ["3", "4", {}]
    assert [message["id"] for message in (await old.post([call(1)])).json] == [1], "also a batch of one"


async def test_a_batch_that_speaks_is_answered_on_one_stream(old: SessionClient, gate: Gate) -> None:
    answer = await old.post([call(1), 5, call(2, "count", steps=2)])
    gate.open.set()
    messages = await answer.messages()
    assert [item["params"]["progress"] for item in messages if "method" in item] == [1, 2, 3]
    assert sorted(item["id"] for item in messages if "result" in item) == [1, 2]
    assert [item["error"]["code"] for item in messages if "error" in item] == [-32600], "the malformed element"
    assert set(await left_behind(old.endpoint)) == {"sessions"}


async def test_only_notifications_get_no_answer(old: SessionClient) -> None:
    answer = await old.post([NOTE, {"jsonrpc": "2.0", "method": "notifications/cancelled"}])
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize(
    ("element", "request_id"),
    [
        (1, None),
        ([call(5)], None),
        ({"foo": "boo"}, None),
        ({"jsonrpc": "2.0", "id": 5}, 5),
        ({"jsonrpc": "1.0", "id": "x", "method": "ping"}, "x"),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, None),
        ({"jsonrpc": "2.0", "id": 5, "method": "ping", "params": []}, 5),
    ],
    ids=str,
)
async def test_a_malformed_element_costs_itself(old: SessionClient, element: Any, request_id: Any) -> None:
    answer = await old.post([call(1), element, NOTE, call(2, a=2, b=2)])
    assert answer.status == 200
    assert codes(answer) == [(request_id, -32600), (1, None), (2, None)]
    assert set(await left_behind(old.endpoint)) == {"sessions"}


async def test_malformed_elements_are_told_whatever_is_beside_them(old: SessionClient) -> None:
    example_of_json_rpc = await old.post([1, 2, 3])
    assert (example_of_json_rpc.status, codes(example_of_json_rpc)) == (400, [(None, -32600)] * 3)
    beside_a_note = await old.post([NOTE, 5])
    assert (beside_a_note.status, codes(beside_a_note)) == (200, [(None, -32600)])
    too_long = await old.post([call(1), request("tools/call", {"name": "x" * 600}, id=2)])
    assert codes(too_long) == [(2, -32602), (1, None)]


@pytest.mark.parametrize(
    "batch",
    [
        [],
        [call(1), {"jsonrpc": "2.0", "id": 1, "result": {}}],
        [NOTE, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}}],
        [call(1), call(1)],
        [call(1), {"jsonrpc": "2.0", "id": 1}],
        [request("initialize", {"protocolVersion": "2025-03-26"})],
        [call(number) for number in range(101)],
    ],
    ids=["empty", "a result", "an error", "one id twice", "the id of a malformed one", "initialize", "101 calls"],
)
async def test_what_is_no_batch_is_refused_as_a_whole(old: SessionClient, gate: Gate, batch: list[Any]) -> None:
    answer = await old.post(batch)
    assert (answer.status, answer.error_code, "id" in answer.json, gate.runs) == (400, -32600, False, 0)
    assert set(await left_behind(old.endpoint)) == {"sessions"}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_later_revisions_have_no_batches(endpoint: Endpoint, gate: Gate, version: str, named: bool) -> None:
    client = await opened(endpoint, version=version)
    answer = await client.post([call(1)], headers={} if named else {"mcp-protocol-version": None})
    assert (answer.status, answer.error_code, gate.runs) == (400, -32600, 0)
    assert set(await left_behind(endpoint)) == {"sessions"}
    assert text_of((await client.post(call(1))).json) == "3", "the refused id is free"


async def test_a_batch_to_an_unknown_session_is_404_whatever_its_elements_are(old: SessionClient) -> None:
    for body in ([5], [call(1), 5]):
        answer = await old.post(body, headers={"mcp-session-id": "A" * 43})
        assert (answer.status, "id" in answer.json) == (404, False)


async def test_responses_reach_those_who_wait_whatever_the_others_are(old: SessionClient) -> None:
    first, second, third = [await old.call("ask") for _ in range(3)]
    one, two, three = [(await answer.message())["id"] for answer in (first, second, third)]
    strange = {"jsonrpc": "2.0", "id": "x.1.y", "result": {}}
    broken = {"jsonrpc": "2.0", "id": two, "result": None}
    good = [{"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}} for id in (one, three)]
    answer = await old.post([5, strange, broken, good[0]])
    assert (answer.status, codes(answer)) == (200, [(None, -32600)] * 3)
    assert (await second.messages())[-1]["error"]["code"] == -32600
    assert (await old.post([good[1]])).status == 202
    assert [await first.text(), await third.text()] == ["decline None"] * 2


async def test_a_refused_reply_leaves_no_request_in_flight(old: SessionClient) -> None:
    answer = await old.post([{"jsonrpc": "2.0", "id": "x.1.y", "result": {}}])
    assert (answer.status, codes(answer)) == (400, [(None, -32600)])
    assert set(await left_behind(old.endpoint)) == {"sessions"}


async def test_a_batch_that_could_not_be_admitted_whole_is_not_joined_by_its_retry(
    build_endpoint: BuildEndpoint, store: FlakyBackend, clock: FakeClock
) -> None:
    client = await opened(build_endpoint(store), version="2025-03-26")
    store.away = {"cancel", "in_flight", "leave"}
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}}
    batch = [cancelled, request("ping", id=1)]
    assert (await client.post(batch)).status == 503
    store.away = set()
    await clock.advance(10)
    again = await client.post(batch)
    assert (again.status, again.json[0]["id"]) == (200, 1)
