"""Requests from the server to its client: asked on the call's stream, answered by a POST of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.client import ALL_CAPABILITIES, SessionClient, send_sessionless
from tests.support.clock import settle
from tests.support.stores import left_behind

ACCEPT = {"action": "accept", "content": {"name": "Ann"}}


def changed(id: str, position: int) -> str:
    letters = list(id)
    letters[position] = "0" if letters[position] != "0" else "1"
    return "".join(letters)


async def reply_error(client: SessionClient, id: Any, error: Any) -> Any:
    return await client.post({"jsonrpc": "2.0", "id": id, "error": error})


# -- round trips --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_a_tool_asks_the_user(endpoint, version):
    client = SessionClient(endpoint, version)
    await client.open()
    answer = await client.call("ask")
    question = await answer.message()
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == "name?"
    assert question["params"]["requestedSchema"]["properties"] == {"name": {"type": "string"}}
    reply = await client.reply(question["id"], ACCEPT)
    assert (reply.status, reply.body) == (202, b"")
    assert await answer.text() == "accept Ann"
    assert set(await left_behind(endpoint)) == {"sessions"}


async def test_a_tool_has_the_clients_model_write(client):
    answer = await client.call("sample")
    question = await answer.message()
    assert (question["method"], question["params"]["maxTokens"]) == ("sampling/createMessage", 10)
    text = {"type": "text", "text": "a poem"}
    await client.reply(question["id"], {"role": "assistant", "content": text, "model": "m"})
    assert await answer.text() == "m a poem"


async def test_a_tool_lists_the_clients_roots(client):
    answer = await client.call("roots")
    question = await answer.message()
    assert question["method"] == "roots/list"
    await client.reply(question["id"], {"roots": [{"uri": "file:///a"}, {"uri": "file:///b"}]})
    assert await answer.text() == "file:///a file:///b"


async def test_questions_of_one_session_have_ids_of_their_own(client):
    answers = [await client.call("ask") for _ in range(3)]
    ids = [(await answer.message())["id"] for answer in answers]
    assert len(set(ids)) == 3
    for name, id in reversed(list(enumerate(ids))):
        await client.reply(id, {"action": "accept", "content": {"name": str(name)}})
    assert [await answer.text() for answer in answers] == ["accept 0", "accept 1", "accept 2"]


async def test_a_question_waits_for_a_client_that_lost_its_stream(client):
    answer = await client.call("ask")
    first = await answer.frame()
    answer.close()
    await settle()
    resumed = await client.get(first.id)
    question = await resumed.message()
    await client.reply(question["id"], ACCEPT)
    assert await resumed.text() == "accept Ann"


async def test_a_question_is_not_asked_on_the_get_stream(client):
    stream = await client.get()
    answer = await client.call("ask")
    await client.reply((await answer.message())["id"], ACCEPT)
    await answer.messages()
    await client.call("whisper", {"text": "end"})
    assert (await stream.message())["params"]["data"] == "end"


# -- errors and silence -------------------------------------------------------------------------------


async def test_an_error_from_the_client_reaches_the_tool(client):
    answer = await client.call("ask")
    await reply_error(client, (await answer.message())["id"], {"code": -1, "message": "the user is asleep"})
    (last,) = await answer.messages()
    assert b"the user is asleep" in str(last).encode()
    assert "error" in last or last["result"]["isError"]


@pytest.mark.parametrize("result", [{}, {"action": "perhaps"}, {"action": ["accept"]}])
async def test_a_result_without_the_right_shape_is_the_tools_error(client, result):
    answer = await client.call("ask")
    assert (await client.reply((await answer.message())["id"], result)).status == 202
    (last,) = await answer.messages()
    assert "error" in last or last["result"]["isError"]


async def test_nobody_answers_in_time(client, clock):
    answer = await client.call("ask")
    question = await answer.message()
    await clock.advance(299)
    await clock.advance(1)
    cancelled, last = await answer.messages()
    assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", question["id"])
    assert "error" in last or last["result"]["isError"]
    late = await client.reply(question["id"], ACCEPT)
    assert late.status == 202, "a reply that crossed the cancellation is no fault"
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_a_cancelled_call_takes_its_question_back(client):
    answer = await client.call("ask", id="c")
    question = await answer.message()
    await client.notify("notifications/cancelled", {"requestId": "c"})
    (cancelled,) = await answer.messages()
    assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", question["id"])
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_only_the_first_reply_counts(client):
    answer = await client.call("ask")
    id = (await answer.message())["id"]
    assert (await client.reply(id, ACCEPT)).status == 202
    assert (await client.reply(id, {"action": "decline"})).status == 202
    assert await answer.text() == "accept Ann"


# -- replies nobody waits for -------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 13, -25, -1])
async def test_a_forged_reply_is_refused(client, position):
    answer = await client.call("ask")
    id = (await answer.message())["id"]
    refused = await client.reply(changed(id, position), ACCEPT)
    assert (refused.status, refused.error_code) == (400, -32600)
    assert "answers no request" in refused.json["error"]["message"]
    assert "id" not in refused.json
    await client.reply(id, {"action": "decline"})
    assert await answer.text() == "decline None"


@pytest.mark.parametrize("id", ["", "1", 1, 0, -1, 2**53, "a.1.b", "é", "." * 256])
async def test_a_reply_to_a_request_never_made_is_refused(client, id):
    refused = await client.reply(id, ACCEPT)
    assert (refused.status, refused.error_code) == (400, -32600)
    assert "answers no request" in refused.json["error"]["message"]


@pytest.mark.parametrize(("user", "other"), [(None, None), ("ann", "bob"), ("ann", "ann")])
async def test_another_sessions_reply_is_refused(endpoint, user, other):
    asked, stranger = SessionClient(endpoint, user=user), SessionClient(endpoint, user=other)
    await asked.open()
    await stranger.open()
    answer = await asked.call("ask")
    id = (await answer.message())["id"]
    refused = await stranger.reply(id, ACCEPT)
    assert (refused.status, refused.error_code) == (400, -32600)
    await asked.reply(id, {"action": "decline"})
    assert await answer.text() == "decline None"


async def test_another_principal_cannot_reply_in_the_session(endpoint):
    client = SessionClient(endpoint, user="ann")
    await client.open()
    answer = await client.call("ask")
    id = (await answer.message())["id"]
    client.user = "bob"
    assert (await client.reply(id, ACCEPT)).status == 404
    client.user = "ann"
    await client.reply(id, {"action": "decline"})
    assert await answer.text() == "decline None"


# -- clients that cannot be asked ---------------------------------------------------------------------


@pytest.mark.parametrize(("tool", "capability"), [("ask", "elicitation"), ("sample", "sampling"), ("roots", "roots")])
async def test_a_client_is_not_asked_for_what_it_did_not_declare(endpoint, tool, capability):
    client = SessionClient(endpoint)
    await client.open({name: value for name, value in ALL_CAPABILITIES.items() if name != capability})
    async with asyncio.timeout(5):
        answer = await client.call(tool)
    assert answer.stream is None, "nothing was asked"
    assert capability in str(answer.json)
    assert "error" in answer.json or answer.json["result"]["isError"]


async def test_a_client_that_takes_only_json_is_not_asked(client):
    async with asyncio.timeout(5):
        answer = await client.call("ask", headers={"accept": "application/json"})
    assert (answer.status, answer.error_code) == (200, -32600)
    assert "one JSON document" in answer.json["error"]["message"]


async def test_a_sessionless_client_is_not_asked(endpoint):
    capabilities = {"io.modelcontextprotocol/clientCapabilities": ALL_CAPABILITIES}
    async with asyncio.timeout(5):
        answer = await send_sessionless(endpoint, "tools/call", {"name": "ask", "arguments": {}}, meta=capabilities)
    assert answer.stream is None
    assert (answer.status, answer.error_code) == (200, -32600)
    assert "InputRequiredResult" in answer.json["error"]["message"]
