"""Limits of sessions and of streams."""

from __future__ import annotations

from typing import Any

from mcp_transport.backends.contracts import MAX_CANCELS
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.session_handle import _MAX_SUBSCRIBED_BYTES, _MAX_SUBSCRIPTIONS
from mcp_transport.kernel.limits import MAX_ANSWER_BYTES, MAX_VALUES
from tests.limits.cases import Stage, case
from tests.support.client import Answer, SessionClient, later
from tests.support.clock import settle

POLICY = Policy()


@case("an unused session", POLICY.session_ttl)
async def unused(stage: Stage) -> Answer:
    await stage.clock.advance(POLICY.session_ttl - 1)
    assert (await stage.client.request("ping")).status == 200
    await stage.clock.advance(POLICY.session_ttl + 1)
    return await stage.client.request("ping")


@case("any session", POLICY.session_max_age)
async def any_session(stage: Stage) -> Answer:
    endpoint = stage.build(session_ttl=POLICY.session_max_age)
    client = SessionClient(endpoint)
    await client.open()
    for _ in range(2):
        await stage.clock.advance(POLICY.session_max_age / 2 - 1)
        assert (await client.request("ping")).status == 200
    await stage.clock.advance(3)
    return await client.request("ping")


@case("sessions of a caller (`memory`, `redis`, `dynamodb`)", POLICY.max_sessions_per_principal)
async def sessions(stage: Stage) -> None:
    endpoint = stage.build(max_sessions_per_principal=2)
    clients = [SessionClient(endpoint, user="ann") for _ in range(3)]
    for client in clients:
        await client.open()
        await stage.clock.advance(1)
    assert [(await client.request("ping")).status for client in clients] == [404, 200, 200]


@case("subscribed resources of a session", _MAX_SUBSCRIPTIONS)
async def subscriptions(stage: Stage) -> Answer:
    for number in range(_MAX_SUBSCRIPTIONS):
        assert (await stage.client.request("resources/subscribe", {"uri": f"test://{number}"})).json["result"] == {}
    return await stage.client.request("resources/subscribe", {"uri": "test://more"})


@case("total bytes of the URIs of subscribed resources", _MAX_SUBSCRIBED_BYTES)
async def subscribed_bytes(stage: Stage) -> Answer:
    for number in range(32):
        uri = f"test://{number}/".ljust(_MAX_SUBSCRIBED_BYTES // 32, "x")
        assert (await stage.client.request("resources/subscribe", {"uri": uri})).json["result"] == {}
    return await stage.client.request("resources/subscribe", {"uri": "test://more"})


@case("cancellations that arrived before their request, each for 2 s", MAX_CANCELS)
async def cancellations(stage: Stage) -> None:
    for number in range(MAX_CANCELS + 1):
        await stage.client.notify("notifications/cancelled", {"requestId": f"early-{number}"})
    ignored = await stage.client.call("add", {"a": 1, "b": 2}, id=f"early-{MAX_CANCELS}")
    assert ignored.json["result"]["structuredContent"] == {"result": 3}
    await stage.client.call("add", {"a": 1, "b": 2}, id=f"early-{MAX_CANCELS - 1}")
    assert stage.gate.runs == 1


async def answered(stage: Stage, content: dict[str, Any]) -> Answer:
    call = await stage.client.call("ask")
    question = await call.message() or {}
    answer = await stage.client.reply(question["id"], {"action": "accept", "content": content})
    (last,) = await call.messages()
    assert (last.get("error", {}).get("code") == -32602) is (answer.status == 400)
    return answer


@case("bytes of a client's reply to a server request", MAX_ANSWER_BYTES)
async def answer_bytes(stage: Stage) -> Answer:
    room = MAX_ANSWER_BYTES - len('{"action":"accept","content":{"name":""}}')
    assert (await answered(stage, {"name": "x" * room})).status == 202
    return await answered(stage, {"name": "x" * (room + 1)})


@case("JSON values in a client's reply to a server request", MAX_VALUES)
async def answer_values(stage: Stage) -> Answer:
    # Behind the action, the content and its two members; what is short is not counted.
    words = ["x"] * (MAX_VALUES - 4)
    assert (await answered(stage, {"name": "", "words": words})).status == 202
    return await answered(stage, {"name": "", "words": [*words, "x"]})


@case("replies to a server request that a node forwards", 1)
async def answers(stage: Stage) -> None:
    call = await stage.client.call("ask")
    question = await call.message() or {}
    for name in ("first", "second"):
        reply = {"action": "accept", "content": {"name": name}}
        assert (await stage.client.reply(question["id"], reply)).status == 202
    assert await call.text() == "accept first"


@case("time for a client to answer a server request", POLICY.client_reply_timeout)
async def questions(stage: Stage) -> None:
    answer = await stage.client.call("ask")
    assert (await answer.message() or {})["method"] == "elicitation/create"
    last = await later(stage.clock, POLICY.client_reply_timeout + 1, answer.messages())
    assert "in time" in str(last[-1])


@case("time that a finished stream can be replayed", POLICY.stream_keep)
async def finished_stream(stage: Stage) -> Answer:
    stage.gate.open.set()
    answer = await stage.client.call("count", {"steps": 1})
    first = await answer.frame()
    assert first is not None
    await answer.messages()
    await settle()
    again = await stage.client.get(first.id)
    assert await again.messages()
    await stage.clock.advance(POLICY.stream_keep + 1)
    return await stage.client.get(first.id)
