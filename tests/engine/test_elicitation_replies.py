"""Elicitation, sampling and roots: asked on the call's stream, answered by a POST, once and by its own client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import ALL_CAPABILITIES, Answer, SessionClient, send_sessionless
from tests.support.clock import FakeClock, settle
from tests.support.stores import FlakyBackend, left_behind

ACCEPT = {"action": "accept", "content": {"name": "Ann"}}
DECLINE = {"action": "decline"}
ERROR = {"code": -1, "message": "the user is asleep"}
Nodes = tuple[Endpoint, Endpoint]


async def asked(client: SessionClient, tool: str = "ask") -> tuple[Answer, str]:
    """Have a tool ask its client; return the stream of the call and the question's id."""
    answer = await client.call(tool)
    return answer, (await answer.message())["id"]


async def declined(client: SessionClient, answer: Answer, id: str) -> None:
    """Answer a question that still waits."""
    assert (await client.reply(id, DECLINE)).status == 202
    assert await answer.text() == "decline None"


# -- round trips --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_a_tool_asks_the_user(nodes: Nodes, version: str, where: int) -> None:
    client = await opened(nodes[0], version=version)
    answer = await client.call("ask")
    question = await answer.message()
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == "name?"
    assert question["params"]["requestedSchema"]["properties"] == {"name": {"type": "string"}}
    reply = await client.reply(question["id"], ACCEPT, endpoint=nodes[where])
    assert (reply.status, reply.body) == (202, b"")
    assert await answer.text() == "accept Ann"
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_a_tool_has_the_clients_model_write_and_lists_its_roots(client: SessionClient) -> None:
    answer = await client.call("sample")
    question = await answer.message()
    assert (question["method"], question["params"]["maxTokens"]) == ("sampling/createMessage", 10)
    text = {"type": "text", "text": "a poem"}
    await client.reply(question["id"], {"role": "assistant", "content": text, "model": "m"})
    assert await answer.text() == "m a poem"
    answer = await client.call("roots")
    question = await answer.message()
    assert question["method"] == "roots/list"
    await client.reply(question["id"], {"roots": [{"uri": "file:///a"}, {"uri": "file:///b"}]})
    assert await answer.text() == "file:///a file:///b"


async def test_questions_of_one_session_have_ids_of_their_own(client: SessionClient) -> None:
    questions = [await asked(client) for _ in range(3)]
    assert len({id for _, id in questions}) == 3
    for name, (_, id) in reversed(list(enumerate(questions))):
        await client.reply(id, {"action": "accept", "content": {"name": str(name)}})
    assert [await answer.text() for answer, _ in questions] == ["accept 0", "accept 1", "accept 2"]


async def test_a_question_waits_for_a_client_that_lost_its_stream(client: SessionClient) -> None:
    answer = await client.call("ask")
    first = await answer.event()
    answer.close()
    await settle()
    resumed = await client.get(first.id)
    await client.reply((await resumed.message())["id"], ACCEPT)
    assert await resumed.text() == "accept Ann"


# -- errors and silence -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [
        {"error": ERROR},
        {"result": None, "error": ERROR},
        {"result": {}},
        {"result": {"action": "perhaps"}},
        {"result": {"action": ["accept"]}},
    ],
    ids=str,
)
async def test_an_error_or_a_result_of_another_shape_is_the_tools_error(
    client: SessionClient, response: dict[str, Any]
) -> None:
    answer, id = await asked(client)
    assert (await client.post({"jsonrpc": "2.0", "id": id, **response})).status == 202
    (last,) = await answer.messages()
    assert "error" in last or last["result"]["isError"]
    assert ("the user is asleep" in str(last)) is ("error" in response)


async def test_nobody_answers_in_time(
    here: SessionClient, nodes: Nodes, store: FlakyBackend, clock: FakeClock
) -> None:
    answer, id = await asked(here)
    await clock.advance(299)
    await clock.advance(1)
    cancelled, last = await answer.messages()
    assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", id)
    assert "error" in last or last["result"]["isError"]
    await clock.advance(60)
    for node in nodes:
        late = await here.reply(id, ACCEPT, endpoint=node)
        assert (late.status, late.body) == (202, b""), "a reply that crossed the cancellation is no fault"
    assert "send" not in store.calls
    assert set(await left_behind(here.endpoint)) == {"sessions"}


@pytest.mark.parametrize(
    "extra", [{"error": None}, {"more": 1, "params": {}}], ids=["the error is null", "unknown members"]
)
async def test_a_result_may_have_odd_company(client: SessionClient, extra: dict[str, Any]) -> None:
    answer, id = await asked(client)
    assert (await client.post({"jsonrpc": "2.0", "id": id, "result": ACCEPT, **extra})).status == 202
    assert await answer.text() == "accept Ann"


@pytest.mark.parametrize(
    "response",
    [
        {"result": None},
        {"error": None},
        {"result": []},
        {"result": ACCEPT, "error": ERROR},
        {"error": "no"},
        {"error": {"code": "x", "message": "no"}},
    ],
    ids=str,
)
async def test_whoever_waits_for_a_response_that_cannot_be_used_gets_an_error(
    client: SessionClient, response: dict[str, Any]
) -> None:
    answer, id = await asked(client)
    refused = await client.post({"jsonrpc": "2.0", "id": id, **response})
    assert (refused.status, refused.error_code, "id" in refused.json) == (400, -32600, False)
    assert (await answer.messages())[-1]["error"]["code"] == -32600
    assert set(await left_behind(client.endpoint)) == {"sessions"}


# -- one question, one reply --------------------------------------------------------------------------


async def test_only_the_first_reply_counts_and_none_is_sent_on_afterwards(
    here: SessionClient, nodes: Nodes, store: FlakyBackend
) -> None:
    answer, id = await asked(here)
    for node in (nodes[1], nodes[0], nodes[1]):
        assert (await here.reply(id, ACCEPT, endpoint=node)).status == 202
        assert (await here.reply(id, DECLINE, endpoint=node)).status == 202
    assert await answer.text() == "accept Ann"
    assert store.calls.count("send") <= 2, "each node sends it once"
    sent = store.calls.count("send")
    for node in nodes * 2:
        assert (await here.reply(id, ACCEPT, endpoint=node)).status == 202
    assert store.calls.count("send") == sent, "a reply that nobody waits for was sent to the node that had asked"


async def test_replies_of_one_batch_are_sent_once(nodes: Nodes, store: FlakyBackend) -> None:
    client = await opened(nodes[0], version="2025-03-26")
    answer, id = await asked(client, "sample")
    written = {"role": "assistant", "content": {"type": "text", "text": "a poem"}, "model": "m"}
    replies = [{"jsonrpc": "2.0", "id": id, "result": written}] * 100
    assert (await client.post(replies, endpoint=nodes[1])).status == 202
    assert await answer.text() == "m a poem"
    assert store.calls.count("send") == 1


async def test_a_reply_that_the_store_refused_may_be_sent_again(
    here: SessionClient, there: dict[str, Any], store: FlakyBackend
) -> None:
    answer, id = await asked(here)
    store.away = {"send"}
    assert (await here.reply(id, ACCEPT, **there)).status == 503
    store.away = set()
    assert (await here.reply(id, ACCEPT, **there)).status == 202
    assert await answer.text() == "accept Ann"


# -- replies nobody waits for -------------------------------------------------------------------------


def changed(id: str, part: int, position: int) -> str:
    parts = id.split(".")
    assert len(parts) == 4
    letters = list(parts[part])
    letters[position] = "0" if letters[position] != "0" else "1"
    parts[part] = "".join(letters)
    return ".".join(parts)


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
@pytest.mark.parametrize("part", range(4))
async def test_each_part_of_a_questions_id_is_proven(
    here: SessionClient, nodes: Nodes, part: int, where: int
) -> None:
    answer, id = await asked(here)
    for position in (0, -1):
        refused = await here.reply(changed(id, part, position), ACCEPT, endpoint=nodes[where])
        assert (refused.status, refused.error_code, "id" in refused.json) == (400, -32600, False)
        assert "answers no request" in refused.json["error"]["message"]
    await declined(here, answer, id)


@pytest.mark.parametrize("id", ["", "1", 1, 0, -1, 2**53, "a.1.b", "é", "." * 256])
async def test_a_reply_to_a_request_never_made_is_refused(client: SessionClient, id: Any) -> None:
    refused = await client.reply(id, ACCEPT)
    assert (refused.status, refused.error_code) == (400, -32600)
    assert "answers no request" in refused.json["error"]["message"]


@pytest.mark.parametrize(("user", "other"), [(None, None), ("ann", "bob"), ("ann", "ann")])
@pytest.mark.parametrize("result", [ACCEPT, None], ids=["well-formed", "malformed"])
async def test_another_sessions_reply_is_refused_and_ends_no_wait(
    endpoint: Endpoint, user: str | None, other: str | None, result: Any
) -> None:
    client, stranger = await opened(endpoint, user), await opened(endpoint, other)
    answer, id = await asked(client)
    refused = await stranger.reply(id, result)
    assert (refused.status, refused.error_code) == (400, -32600)
    await declined(client, answer, id)


async def test_another_principal_cannot_reply_in_the_session(endpoint: Endpoint) -> None:
    client = await opened(endpoint, "ann")
    answer, id = await asked(client)
    client.user = "bob"
    assert (await client.reply(id, ACCEPT)).status == 404
    client.user = "ann"
    await declined(client, answer, id)


# -- clients that cannot be asked ---------------------------------------------------------------------


@pytest.mark.parametrize(("tool", "capability"), [("ask", "elicitation"), ("sample", "sampling"), ("roots", "roots")])
async def test_a_client_is_not_asked_for_what_it_did_not_declare(
    endpoint: Endpoint, tool: str, capability: str
) -> None:
    others = {name: value for name, value in ALL_CAPABILITIES.items() if name != capability}
    client = await opened(endpoint, capabilities=others)
    async with asyncio.timeout(60):
        answer = await client.call(tool)
    assert answer.stream is None, "nothing was asked"
    assert capability in str(answer.json)
    assert "error" in answer.json or answer.json["result"]["isError"]


async def test_a_client_that_takes_only_json_is_not_asked(client: SessionClient) -> None:
    async with asyncio.timeout(60):
        answer = await client.call("ask", headers={"accept": "application/json"})
    assert (answer.status, answer.error_code) == (200, -32600)
    assert "one JSON document" in answer.json["error"]["message"]


async def test_a_sessionless_client_is_not_asked(endpoint: Endpoint) -> None:
    capabilities = {"io.modelcontextprotocol/clientCapabilities": ALL_CAPABILITIES}
    async with asyncio.timeout(60):
        answer = await send_sessionless(endpoint, "tools/call", {"name": "ask", "arguments": {}}, meta=capabilities)
    assert (answer.status, answer.error_code) == (200, -32600)
    assert "InputRequiredResult" in answer.json["error"]["message"]
