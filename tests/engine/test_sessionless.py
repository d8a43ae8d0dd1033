"""2026-07-28: every POST stands alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.client import PROTOCOL_VERSION, later, request, send, send_sessionless, silent, text_of
from tests.support.clock import settle
from tests.support.stores import FlakyBackend, left_behind

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


# -- JSON or a stream ---------------------------------------------------------------------------------


async def test_a_quick_silent_call_is_answered_with_json(endpoint):
    answer = await send_sessionless(endpoint, "tools/call", ADD, id="seven")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.json["id"], text_of(answer.json), answer.json["result"]["resultType"]) == (
        "seven",
        "3",
        "complete",
    )
    assert "mcp-session-id" not in answer.headers


async def test_a_silent_call_becomes_a_stream_exactly_at_the_deadline(endpoint, clock, gate):
    task = asyncio.ensure_future(send_sessionless(endpoint, "tools/call", tool("blocked")))
    await gate.wait(gate.entered)
    await clock.advance(0.999)
    assert not task.done()
    await clock.advance(0.001)
    answer = await task
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["x-accel-buffering"] == "no"
    opening = await answer.frame()
    assert (opening.comment, opening.data) == ("keep-alive", None), "something leaves at once"
    gate.open.set()
    last = await answer.frame()
    assert last.id is None, "there is no resumption, thus no event id"
    assert text_of(last.message) == "through"
    assert await answer.frame() is None


async def test_a_call_that_ends_just_before_the_deadline_is_answered_with_json(endpoint, clock, gate):
    task = asyncio.ensure_future(send_sessionless(endpoint, "tools/call", tool("blocked")))
    await gate.wait(gate.entered)
    await clock.advance(0.999)
    gate.open.set()
    assert text_of((await task).json) == "through"


async def test_the_first_notification_begins_the_stream_without_the_clock(endpoint, gate):
    answer = await send_sessionless(endpoint, "tools/call", tool("count", steps=2), meta={"progressToken": 7})
    assert answer.stream is not None
    assert [(await answer.message())["params"]["progress"] for _ in range(2)] == [1, 2]
    gate.open.set()
    last = await answer.messages()
    assert (last[0]["params"]["progressToken"], text_of(last[1])) == (7, "counted")


async def test_the_first_notification_leaves_before_a_handler_that_never_waits_goes_on(endpoint, gate):
    answer = await send_sessionless(endpoint, "tools/call", tool("count", steps=10), meta={"progressToken": 7})
    assert (await answer.message())["params"]["progress"] == 1
    assert gate.written == 0
    gate.open.set()
    assert len(await answer.messages()) == 11


async def test_a_client_that_takes_only_json_gets_json_however_long_it_takes(endpoint, clock, gate):
    only_json = {"accept": "application/json"}
    task = asyncio.ensure_future(send_sessionless(endpoint, "tools/call", tool("blocked"), headers=only_json))
    await gate.wait(gate.entered)
    await clock.advance(100)
    assert not task.done()
    gate.open.set()
    assert text_of((await task).json) == "through"


async def test_progress_is_only_told_to_those_who_gave_a_token(endpoint, gate):
    gate.open.set()
    answer = await send_sessionless(endpoint, "tools/call", tool("count", steps=2))
    assert answer.stream is None
    assert text_of(answer.json) == "counted"


@pytest.mark.parametrize(("asked", "told"), [(None, False), ("error", False), ("info", True), ("debug", True)])
async def test_log_messages_are_opted_in_to_by_level(endpoint, asked, told):
    meta = {LOG_LEVEL: asked} if asked else {}
    answer = await send_sessionless(endpoint, "tools/call", tool("talk", level="info"), meta=meta)
    if not told:
        assert text_of(answer.json) == "talked"
        return
    message, result = await answer.messages()
    assert (message["method"], message["params"]["data"], text_of(result)) == (
        "notifications/message",
        "a word",
        "talked",
    )


# -- statuses -----------------------------------------------------------------------------------------

REMOVED = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"]


@pytest.mark.parametrize("method", ["no/such", *REMOVED])
async def test_a_method_that_is_not_there_is_404(endpoint, method):
    answer = await send_sessionless(endpoint, method, {"uri": "test://watched", "level": "info"})
    assert (answer.status, answer.error_code, answer.json["id"]) == (404, -32601, 1)


@pytest.mark.parametrize(
    ("headers", "meta", "code"),
    [
        ({"mcp-method": "tools/list"}, {}, -32020),
        ({"mcp-method": None}, {}, -32020),
        ({"mcp-method": "TOOLS/CALL"}, {}, -32020),
        ({"mcp-name": "other"}, {}, -32020),
        ({"mcp-name": None}, {}, -32020),
        ({"mcp-protocol-version": None}, {}, -32020),
        ({"mcp-protocol-version": "2025-11-25"}, {}, -32020),
        ({}, {PROTOCOL_VERSION: "v999"}, -32020),
        ({"mcp-protocol-version": "v999"}, {PROTOCOL_VERSION: "v999"}, -32022),
        ({"mcp-protocol-version": "2025-11-25"}, {PROTOCOL_VERSION: "2025-11-25"}, -32022),
        ({}, {"io.modelcontextprotocol/clientCapabilities": None}, -32602),
        ({}, {"io.modelcontextprotocol/clientCapabilities": 5}, -32602),
    ],
)
async def test_a_bad_envelope_is_400(endpoint, gate, headers, meta, code):
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers=headers, meta=meta)
    assert (answer.status, answer.error_code, answer.json["id"]) == (400, code, 1)
    assert gate.runs == 0


async def test_an_unsupported_version_is_told_which_are_served(endpoint):
    version = {PROTOCOL_VERSION: "2030-01-01"}
    answer = await send_sessionless(
        endpoint, "tools/list", headers={"mcp-protocol-version": "2030-01-01"}, meta=version
    )
    assert answer.json["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2030-01-01"}


async def test_a_missing_meta_is_400_and_invalid_params(endpoint):
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"}
    answer = await send(endpoint, body=request("tools/list", {}), headers=headers)
    assert (answer.status, answer.error_code) == (400, -32602)


async def test_a_missing_client_capability_is_400(endpoint):
    answer = await send_sessionless(endpoint, "tools/call", tool("refuse", code=-32021))
    assert (answer.status, answer.error_code) == (400, -32021)
    assert answer.json["error"]["data"] == {"requiredCapabilities": {"sampling": {}}}


async def test_an_unknown_tool_is_an_ordinary_error(endpoint):
    answer = await send_sessionless(endpoint, "tools/call", tool("nothing"))
    assert answer.status == 200
    assert b"nothing" in answer.body


async def test_parameters_without_the_methods_shape_are_400(endpoint):
    answer = await send_sessionless(endpoint, "tools/call", {"name": "add", "arguments": [1]})
    assert (answer.status, answer.error_code) == (400, -32602)


async def test_an_error_after_the_stream_began_is_told_in_it(endpoint, clock, gate):
    answer = await silent(clock, gate.entered, send_sessionless(endpoint, "tools/call", tool("blocked")))
    await endpoint.stop()
    assert answer.status == 200
    assert all("error" in message for message in await answer.messages())


async def test_a_notification_is_accepted_without_a_body(endpoint):
    headers = {"mcp-protocol-version": "2026-07-28"}
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    answer = await send(endpoint, body=message, headers=headers)
    assert (answer.status, answer.body, "content-type" in answer.headers) == (202, b"", False)


async def test_the_session_header_is_ignored(endpoint):
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers={"mcp-session-id": "unknown"})
    assert (answer.status, text_of(answer.json)) == (200, "3")
    assert "mcp-session-id" not in answer.headers


# -- no store -----------------------------------------------------------------------------------------


async def test_a_call_makes_no_round_trip_to_the_store(build_endpoint, clock):
    endpoint = build_endpoint()
    store = FlakyBackend(endpoint.policy, clock.now)
    endpoint = build_endpoint(store)
    await endpoint.node()
    store.calls.clear()
    assert text_of((await send_sessionless(endpoint, "tools/call", ADD)).json) == "3"
    assert store.calls == []


@pytest.mark.parametrize("began_before", [True, False])
async def test_calls_are_served_while_the_store_is_away(build_endpoint, endpoint, clock, began_before):
    store = FlakyBackend(endpoint.policy, clock.now)
    endpoint = build_endpoint(store)
    if began_before:
        await endpoint.node()
    store.away = {"*"}
    answer = await send_sessionless(endpoint, "tools/call", ADD)
    store.away.clear()
    assert answer.status == 200, answer.body
    assert text_of(answer.json) == "3"


# -- leaving is cancelling ----------------------------------------------------------------------------


async def test_leaving_before_the_answer_began_cancels_the_handler(endpoint, gate):
    task = asyncio.ensure_future(send_sessionless(endpoint, "tools/call", tool("blocked")))
    await gate.wait(gate.entered)
    task.cancel()
    await gate.wait(gate.left)
    assert gate.cancelled
    await settle()
    assert await left_behind(endpoint) == {}


async def test_leaving_the_stream_cancels_the_handler(endpoint, clock, gate):
    answer = await silent(clock, gate.entered, send_sessionless(endpoint, "tools/call", tool("blocked")))
    answer.close()
    await gate.wait(gate.left)
    assert gate.cancelled
    await settle()
    assert await left_behind(endpoint) == {}


async def test_a_stream_that_was_begun_and_left_cancels_the_handler(endpoint, gate):
    answer = await send_sessionless(endpoint, "tools/call", tool("count", steps=1), meta={"progressToken": 1})
    assert (await answer.message())["params"]["progress"] == 1
    answer.close()
    await gate.wait(gate.left)
    assert gate.cancelled


# -- the pace of the client ---------------------------------------------------------------------------


async def test_a_silent_stream_is_kept_alive_by_comments(endpoint, clock, gate):
    answer = await silent(clock, gate.entered, send_sessionless(endpoint, "tools/call", tool("blocked")))
    assert (await answer.frame()).comment == "keep-alive", "from the start"
    for _ in range(3):
        frame = await later(clock, 15, answer.frame())
        assert (frame.comment, frame.data) == ("keep-alive", None)
    gate.open.set()
    assert await answer.text() == "through"


async def test_a_slow_reader_makes_the_handler_wait(endpoint, gate):
    gate.open.set()
    answer = await send_sessionless(endpoint, "tools/call", tool("count", steps=200), meta={"progressToken": 1})
    await settle()
    held_at = gate.written
    assert held_at < 40
    await settle()
    assert gate.written == held_at
    messages = await answer.messages()
    assert [item["params"]["progress"] for item in messages[:-1]] == list(range(1, 202))
    assert text_of(messages[-1]) == "counted"


async def test_leaving_frees_a_handler_that_waits_for_a_slow_reader(endpoint, gate):
    answer = await send_sessionless(endpoint, "tools/call", tool("count", steps=200), meta={"progressToken": 1})
    await settle()
    assert not gate.entered.is_set()
    answer.close()
    assert await left_behind(endpoint) == {}
    assert gate.written < 40
