"""How long replies to questions may be, what a node remembers of them, and questions of the previous release."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from mcp_transport.domain.node_messages import ReplyArrived
from mcp_transport.engine import client_requests
from mcp_transport.engine.client_requests import ClientRequests
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import BackendError
from mcp_transport.kernel.limits import MAX_ANSWER_BYTES, MAX_VALUES
from tests.support.client import SessionClient
from tests.support.clock import FakeClock
from tests.support.stores import FlakyBackend

KEYS = [b"k" * 32]
LONG = "x" * MAX_ANSWER_BYTES
DEEP = json.loads("[" * 900 + "]" * 900)
BYTES = f"the response to a server request may hold at most {MAX_ANSWER_BYTES} bytes of JSON, got more"
VALUES = f"the response to a server request may hold at most {MAX_VALUES} JSON values, got more"
either_node = pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])


def accept(content: dict[str, Any]) -> dict[str, Any]:
    return {"result": {"action": "accept", "content": content}}


TOO_LONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "text": ("ask", accept({"name": LONG}), BYTES),
    "members": ("ask", accept({str(number): 0 for number in range(MAX_VALUES)}), VALUES),
    "items": ("ask", accept({"name": [{}] * MAX_VALUES}), VALUES),
    "roots": ("roots", {"result": {"roots": [{}] * MAX_VALUES}}, VALUES),
    "depth": ("ask", accept({"name": DEEP}), BYTES),
    "message of an error": ("ask", {"error": {"code": -1, "message": LONG}}, BYTES),
    "data of an error": ("ask", {"error": {"code": -1, "message": "no", "data": [{}] * MAX_VALUES}}, VALUES),
}


@either_node
@pytest.mark.parametrize("name", TOO_LONG)
async def test_a_reply_that_is_too_long_is_refused_and_ends_the_question(
    here: SessionClient, nodes: tuple[Endpoint, Endpoint], name: str, where: int
) -> None:
    tool, reply, text = TOO_LONG[name]
    answer = await here.call(tool)
    id = (await answer.message())["id"]
    refused = await here.post({"jsonrpc": "2.0", "id": id, **reply}, endpoint=nodes[where])
    assert (refused.status, refused.error_code) == (400, -32602)
    assert refused.json["error"]["message"] == text
    (last,) = await answer.messages()
    assert text in json.dumps(last), "the tool waits on"


async def test_a_reply_that_is_too_long_is_not_sent_to_the_other_node(
    here: SessionClient, there: dict[str, Any], store: FlakyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = list[Any]()
    send = store.send

    async def record(node: str, message: Any) -> bool:
        sent.append(message)
        return await send(node, message)

    monkeypatch.setattr(store, "send", record)
    id = (await (await here.call("ask")).message())["id"]
    for _ in range(3):
        refused = await here.post({"jsonrpc": "2.0", "id": id, **accept({"name": LONG})}, **there)
        assert (refused.status, refused.error_code) == (400, -32602)
    replies = [message for message in sent if isinstance(message, ReplyArrived)]
    assert [(message.result, (message.error or {})["message"]) for message in replies] == [(None, BYTES)]


@either_node
async def test_the_longest_reply_is_taken(here: SessionClient, nodes: tuple[Endpoint, Endpoint], where: int) -> None:
    answer = await here.call("ask")
    id = (await answer.message())["id"]
    empty = accept({"name": ""})["result"]
    text = "x" * (MAX_ANSWER_BYTES - len(json.dumps(empty, separators=(",", ":"))))
    assert (await here.reply(id, accept({"name": text})["result"], endpoint=nodes[where])).status == 202
    assert await answer.text() == f"accept {text}"


# -- what a node remembers -----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.5, 300.0, 1e9, 1e300, math.inf])
def test_a_question_may_take_any_time(seconds: float) -> None:
    made = ClientRequests("node", FakeClock(), KEYS)
    id = made.new_id("key", "owner", seconds)
    assert len(id) <= 256
    assert made.sender(id, "key", "owner") == "node"


class Sender:
    """Counts how often a reply was sent, in vain while it is away."""

    def __init__(self) -> None:
        self.sent, self.is_away = 0, False

    async def __call__(self) -> None:
        if self.is_away:
            raise BackendError("away")
        self.sent += 1


async def test_answered_questions_are_forgotten_with_their_time_and_by_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_requests, "_MAX_ANSWERED", 3)
    clock, send = FakeClock(), Sender()
    made = ClientRequests("node", clock, KEYS)
    for _ in range(5):
        await made.forward_once(made.new_id("key", "owner", 10.0), send)
    assert len(made._answered) == 3
    await clock.advance(10.0 + client_requests._CLOCK_TOLERANCE_SECONDS + 1)
    await made.forward_once(last := made.new_id("key", "owner", 10.0), send)
    assert [*made._answered] == [last]


async def test_a_reply_that_was_not_sent_is_not_remembered() -> None:
    made, send = ClientRequests("node", FakeClock(), KEYS), Sender()
    id = made.new_id("key", "owner", 10.0)
    send.is_away = True
    with pytest.raises(BackendError):
        await made.forward_once(id, send)
    send.is_away = False
    for _ in range(2):
        await made.forward_once(id, send)
    assert send.sent == 1


# -- the previous release, during a rolling deployment -------------------------------------------------


async def test_a_question_of_the_previous_release_is_answered_once() -> None:
    made, send = ClientRequests("node", FakeClock(), KEYS), Sender()
    id = f"older.1.{client_requests._signature(KEYS[0], 'key', 'owner', 'older.1')}"
    assert (made.sender(id, "key", "owner"), made.sender(id, "key", "another")) == ("older", None)
    for _ in range(3):
        await made.forward_once(id, send)
    assert send.sent == 1


def test_the_previous_release_knows_who_asked() -> None:
    made = ClientRequests("node", FakeClock(), KEYS)
    name, _, proof = made.new_id("key", "owner", 300.0).rpartition(".")
    assert proof == client_requests._signature(KEYS[0], "key", "owner", name)
    assert name.partition(".")[0] == "node"
