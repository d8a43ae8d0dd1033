"""A client's answers to questions reach the node that asked, wherever they land; nobody else can answer."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.cluster.answer import Answer
from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site, rest, result_of, take

Pair = tuple[int, int]

ANN = {"action": "accept", "content": {"name": "ann"}}
SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "written"}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///home"}]}


async def question(answer: Answer) -> Any:
    """Return the id of the question that a tool asks on its stream."""
    (event,) = await take(answer, 1)
    assert event.message["method"] in {"elicitation/create", "sampling/createMessage", "roots/list"}
    return event.message["id"]


@pytest.mark.parametrize(
    ("tool", "reply", "result"),
    [("ask", ANN, "accept ann"), ("sample", SAMPLED, "m written"), ("roots", ROOTS, "file:///home")],
)
async def test_reply_that_lands_elsewhere_reaches_its_tool(
    client: Client, pair: Pair, tool: str, reply: Any, result: str
) -> None:
    answer = await client.call(tool, port=pair[0])
    assert (await client.reply(await question(answer), reply, port=pair[1])).status == 202
    assert await answer.text() == result


async def test_refusal_that_lands_elsewhere_reaches_its_tool(client: Client, pair: Pair) -> None:
    answer = await client.call("ask", port=pair[0])
    refusal = {"code": -1, "message": "the user is asleep"}
    message = {"jsonrpc": "2.0", "id": await question(answer), "error": refusal}
    assert (await client.post(message, port=pair[1])).status == 202
    assert "asleep" in str(await answer.outcome())


async def test_questions_of_two_nodes_are_not_mixed_up(client: Client, pair: Pair) -> None:
    asked = [await client.call("ask", port=port) for port in [*pair, *pair]]
    ids = [await question(answer) for answer in asked]
    assert len({*ids}) == len(ids)
    for number, (question_id, port) in enumerate(zip(ids, [*reversed(pair)] * 2, strict=True)):
        reply = {"action": "accept", "content": {"name": str(number)}}
        assert (await client.reply(question_id, reply, port=port)).status == 202
    assert [await answer.text() for answer in asked] == [f"accept {number}" for number in range(4)]


@pytest.mark.parametrize("replies_at", [0, 1])
async def test_question_is_seen_and_answered_after_the_stream_moved(
    client: Client, pair: Pair, replies_at: int
) -> None:
    first = await client.call("ask", port=pair[0])
    priming = await first.next_event()
    assert priming is not None
    first.cut()
    second = await client.get(priming.id, port=pair[1])
    assert (await client.reply(await question(second), ANN, port=pair[replies_at])).status == 202
    assert await second.text() == "accept ann"


async def test_many_questions_are_asked_while_their_streams_move(site: Site, pair: Pair) -> None:
    """Some are asked in the very moment in which the other node takes the stream over."""

    async def one(client: Client) -> str:
        await client.initialize(port=pair[0])
        first = await client.call("ask", port=pair[0])
        priming = await first.next_event()
        assert priming is not None
        first.cut()
        second = await client.get(priming.id, port=pair[1])
        assert (await client.reply(await question(second), ANN, port=pair[0])).status == 202
        return await second.text()

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(site.client()) for _ in range(60)]
        assert {*await asyncio.gather(*map(one, clients))} == {"accept ann"}


async def test_tool_hears_the_first_of_several_replies(client: Client, pair: Pair) -> None:
    answer = await client.call("ask", port=pair[0])
    asked = await question(answer)
    for name, port in [("first", pair[1]), ("second", pair[1]), ("third", pair[0])]:
        reply = {"action": "accept", "content": {"name": name}}
        assert (await client.reply(asked, reply, port=port)).status == 202
    assert [result_of(event.message) for event in await rest(answer)] == ["accept first"]


async def test_replayed_reply_answers_no_later_question(client: Client, pair: Pair) -> None:
    first = await client.call("ask", port=pair[0])
    old = await question(first)
    assert (await client.reply(old, ANN, port=pair[1])).status == 202
    assert await first.text() == "accept ann"
    second = await client.call("ask", port=pair[0])
    new = await question(second)
    for port in pair:
        assert (await client.reply(old, {"action": "decline"}, port=port)).status == 202
    assert (await client.reply(new, {"action": "cancel"}, port=pair[1])).status == 202
    assert await second.text() == "cancel None"


# -- what is no reply to a question of this session ------------------------------------------------------


def _forgeries(asked: str) -> list[Any]:
    """Return ids that look like a question's."""
    node, count, until, proof = asked.split(".")
    name = f"{node}.{count}.{until}"
    return [
        f"{node}.{int(count) + 1}.{until}.{proof}",
        f"{node}.{count}.{int(until) + 1}.{proof}",
        f"{node}.{count}.{proof}",
        f"{'0' * len(node)}.{count}.{until}.{proof}",
        f"{name}.{'0' * len(proof)}",
        f"{name}.{proof[:-1]}",
        f"{name}.{proof}0",
        f"{name}.{proof.upper()}" if proof.upper() != proof else "x",
        name,
        f"{name}.",
        f"{name}.é",
        f"{node}\n.{count}.{until}.{proof}",
        proof,
        "..",
        "",
        1,
    ]


async def test_forged_reply_is_refused_everywhere(client: Client, pair: Pair) -> None:
    answer = await client.call("ask", port=pair[0])
    asked = await question(answer)
    for forged in _forgeries(asked):
        for port in pair:
            refused = await client.reply(forged, {"action": "accept", "content": {"name": "eve"}}, port=port)
            assert (refused.status, (await refused.json())["error"]["code"]) == (400, -32600), forged
    assert (await client.reply(asked, ANN, port=pair[1])).status == 202
    assert await answer.text() == "accept ann"


@pytest.mark.parametrize("users", [("", ""), ("ann", "ann"), ("ann", "eve")])
async def test_reply_of_another_session_is_refused(site: Site, pair: Pair, users: tuple[str, str]) -> None:
    """Also of the same principal: a question belongs to one session."""
    async with site.client(users[0]) as client, site.client(users[1]) as other:
        await client.initialize()
        await other.initialize()
        answer = await client.call("ask", port=pair[0])
        asked = await question(answer)
        for port in pair:
            refused = await other.reply(asked, {"action": "accept", "content": {"name": "eve"}}, port=port)
            assert (refused.status, (await refused.json())["error"]["code"]) == (400, -32600)
        assert (await client.reply(asked, ANN, port=pair[1])).status == 202
        assert await answer.text() == "accept ann"
