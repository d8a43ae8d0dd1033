"""Replies to questions: how long they may be, how often they are sent to the node that asked, and until when."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from mcp_transport.engine import questions
from mcp_transport.engine.questions import Questions
from mcp_transport.exceptions import BackendError
from mcp_transport.kernel.limits import MAX_ANSWER_BYTES, MAX_VALUES
from mcp_transport.protocol.inbox import ReplyArrived
from tests.support.client import SessionClient
from tests.support.clock import FakeClock
from tests.support.stores import FlakyBackend

ACCEPT = {"action": "accept", "content": {"name": "Ann"}}
KEYS = [b"k" * 32]
GRACE = questions._GRACE


@pytest.fixture
def store(endpoint: Any, clock: FakeClock) -> FlakyBackend:
    return FlakyBackend(endpoint.policy, clock.now)


@pytest.fixture
async def nodes(build_endpoint: Any, store: FlakyBackend) -> tuple[Any, Any]:
    return build_endpoint(store), build_endpoint(store)


@pytest.fixture
async def client(nodes: Any) -> SessionClient:
    client = SessionClient(nodes[0])
    await client.open()
    return client


@pytest.fixture
def there(nodes: Any, client: SessionClient) -> dict[str, Any]:
    """What sends a request to the node that did not ask."""
    return {"endpoint": nodes[1]}


async def asked(client: SessionClient, tool: str = "ask") -> tuple[Any, str]:
    """Return a call's answer, and the id of the question that its tool asks."""
    answer = await client.call(tool)
    return answer, (await answer.message())["id"]


# -- one question, one reply ---------------------------------------------------------------------------


@pytest.mark.parametrize("again", [0, 1], ids=["here", "there"])
async def test_a_question_is_over_with_its_reply(client, there, nodes, store, again):
    answer, id = await asked(client)
    assert (await client.reply(id, ACCEPT, **there)).status == 202
    assert await answer.text() == "accept Ann"
    sent = store.calls.count("send")
    for _ in range(3):
        assert (await client.reply(id, ACCEPT, endpoint=nodes[1])).status == 202
    assert store.calls.count("send") == sent, "a reply that nobody waits for was sent to the node that had asked"


async def test_a_reply_is_sent_once_by_each_node(client, there, store):
    answer, id = await asked(client)
    for _ in range(3):
        assert (await client.reply(id, ACCEPT, **there)).status == 202
        assert (await client.reply(id, ACCEPT)).status == 202
    assert await answer.text() == "accept Ann"
    assert store.calls.count("send") <= 2


async def test_replies_of_one_batch_are_sent_once(nodes, store):
    client = SessionClient(nodes[0], "2025-03-26")
    await client.open()
    answer, id = await asked(client, "sample")
    written = {"role": "assistant", "content": {"type": "text", "text": "a poem"}, "model": "m"}
    replies = [{"jsonrpc": "2.0", "id": id, "result": written}] * 100
    assert (await client.post(replies, endpoint=nodes[1])).status == 202
    assert await answer.text() == "m a poem"
    assert store.calls.count("send") == 1


async def test_a_reply_that_the_store_refused_may_be_sent_again(client, there, store):
    answer, id = await asked(client)
    store.away = {"send"}
    assert (await client.reply(id, ACCEPT, **there)).status == 503
    store.away = set()
    assert (await client.reply(id, ACCEPT, **there)).status == 202
    assert await answer.text() == "accept Ann"


async def test_a_question_is_over_with_its_time_on_any_node(client, there, store, clock, endpoint):
    answer, id = await asked(client)
    await clock.advance(endpoint.policy.client_reply_timeout + GRACE + 1)
    await answer.messages()
    for place in ({}, there):
        late = await client.reply(id, ACCEPT, **place)
        assert (late.status, late.body) == (202, b"")
    assert "send" not in store.calls


@pytest.mark.parametrize("part", [0, 1, 2, 3])
async def test_each_part_of_a_questions_id_is_proven(client, part):
    answer, id = await asked(client)
    parts = id.split(".")
    assert len(parts) == 4
    parts[part] = parts[part][:-1] + ("1" if parts[part][-1] != "1" else "2")
    refused = await client.reply(".".join(parts), ACCEPT)
    assert (refused.status, refused.error_code) == (400, -32600)
    await client.reply(id, {"action": "decline"})
    assert await answer.text() == "decline None"


@pytest.mark.parametrize("seconds", [0.0, 0.5, 300.0, 1e9, 1e300, math.inf])
def test_a_question_may_take_any_time(seconds):
    made = Questions("node", FakeClock(), KEYS)
    id = made.mint("owner", seconds)
    assert len(id) <= 256
    assert made.asker(id, "owner") == "node"


# -- the previous release, during a rolling deployment -------------------------------------------------


def old_id(node: str, owner: str) -> str:
    """Name a question as the previous release did."""
    return f"{node}.1.{questions._proof(KEYS[0], owner, f'{node}.1')}"


async def test_a_question_of_the_previous_release_is_answered_once():
    made, sent = Questions("node", FakeClock(), KEYS), list[str]()
    id = old_id("older", "owner")
    assert made.asker(id, "owner") == "older"
    assert made.asker(id, "another") is None

    async def send() -> None:
        sent.append(id)

    for _ in range(3):
        await made.answer_once(id, send)
    assert sent == [id]


def test_the_previous_release_knows_who_asked():
    made = Questions("node", FakeClock(), KEYS)
    name, _, proof = made.mint("owner", 300.0).rpartition(".")
    assert proof == questions._proof(KEYS[0], "owner", name)
    assert name.partition(".")[0] == "node"


# -- what a node remembers -----------------------------------------------------------------------------


async def test_answered_questions_are_forgotten_with_their_time_and_by_number(monkeypatch):
    monkeypatch.setattr(questions, "_MOST_ANSWERED", 3)
    clock = FakeClock()
    made = Questions("node", clock, KEYS)

    async def send() -> None:
        return None

    for _ in range(5):
        await made.answer_once(made.mint("owner", 10.0), send)
    assert len(made._answered) == 3
    await clock.advance(10.0 + GRACE + 1)
    await made.answer_once(last := made.mint("owner", 10.0), send)
    assert [*made._answered] == [last]


async def test_a_reply_that_was_not_sent_is_not_remembered():
    made = Questions("node", FakeClock(), KEYS)

    async def send() -> None:
        raise BackendError("away")

    with pytest.raises(BackendError):
        await made.answer_once(made.mint("owner", 10.0), send)
    assert not made._answered


# -- how long a reply may be ---------------------------------------------------------------------------

LONG = "x" * MAX_ANSWER_BYTES
DEEP = json.loads("[" * 900 + "]" * 900)
BYTES = f"the answer to a question may hold {MAX_ANSWER_BYTES} bytes of JSON, got more"
VALUES = f"the answer to a question may hold {MAX_VALUES} JSON values, got more"
TOO_LONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "text": ("ask", {"result": {"action": "accept", "content": {"name": LONG}}}, BYTES),
    "members": ("ask", {"result": {"action": "accept", "content": {str(n): 0 for n in range(MAX_VALUES)}}}, VALUES),
    "items": ("ask", {"result": {"action": "accept", "content": {"name": [{}] * MAX_VALUES}}}, VALUES),
    "roots": ("roots", {"result": {"roots": [{}] * MAX_VALUES}}, VALUES),
    "depth": ("ask", {"result": {"action": "accept", "content": {"name": DEEP}}}, BYTES),
    "message of an error": ("ask", {"error": {"code": -1, "message": LONG}}, BYTES),
    "data of an error": ("ask", {"error": {"code": -1, "message": "no", "data": [{}] * MAX_VALUES}}, VALUES),
}


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
@pytest.mark.parametrize("name", TOO_LONG)
async def test_a_reply_that_is_too_long_is_refused_and_ends_the_question(nodes, client, name, where):
    tool, reply, text = TOO_LONG[name]
    answer, id = await asked(client, tool)
    refused = await client.post({"jsonrpc": "2.0", "id": id, **reply}, endpoint=nodes[where])
    assert (refused.status, refused.error_code) == (400, -32602)
    assert refused.json["error"]["message"] == text
    (last,) = await answer.messages()
    assert text in json.dumps(last), "the tool waits on"


async def test_a_reply_that_is_too_long_is_not_sent_to_the_other_node(client, there, store, monkeypatch):
    sent = list[Any]()
    send = FlakyBackend.send

    async def record(self: FlakyBackend, node: str, message: Any) -> bool:
        sent.append(message)
        return await send(self, node, message)

    monkeypatch.setattr(FlakyBackend, "send", record)
    _, id = await asked(client)
    for _ in range(3):
        refused = await client.reply(id, {"action": "accept", "content": {"name": LONG}}, **there)
        assert (refused.status, refused.error_code) == (400, -32602)
    replies = [message for message in sent if isinstance(message, ReplyArrived)]
    assert [(message.result, (message.error or {})["message"]) for message in replies] == [(None, BYTES)]


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
async def test_the_longest_reply_is_taken(nodes, client, where):
    answer, id = await asked(client)
    result = {"action": "accept", "content": {"name": ""}}
    result["content"] = {"name": "x" * (MAX_ANSWER_BYTES - len(json.dumps(result, separators=(",", ":"))))}
    assert (await client.reply(id, result, endpoint=nodes[where])).status == 202
    assert await answer.text() == f"accept {result['content']['name']}"
