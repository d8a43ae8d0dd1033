"""A client's answers to questions reach the node that asked, wherever they land."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.cluster.nodes import Site, rest, result_of, take
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer

Pair = tuple[int, int]

ANN = {"action": "accept", "content": {"name": "ann"}}
SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "written"}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///home"}]}


async def question(answer: SocketAnswer) -> Any:
    """Return the id of the question that a tool asks on its stream."""
    (event,) = await take(answer, 1)
    assert event.message["method"] in {"elicitation/create", "sampling/createMessage", "roots/list"}
    return event.message["id"]


REFUSAL = {"code": -1, "message": "the user is asleep"}


@pytest.mark.parametrize(
    ("tool", "reply", "said"),
    [
        ("ask", {"result": ANN}, "accept ann"),
        ("sample", {"result": SAMPLED}, "m written"),
        ("roots", {"result": ROOTS}, "file:///home"),
        ("ask", {"error": REFUSAL}, "asleep"),
    ],
    ids=["elicitation", "sampling", "roots", "refusal"],
)
async def test_reply_that_lands_elsewhere_reaches_its_tool(
    client: Client, pair: Pair, tool: str, reply: Any, said: str
) -> None:
    answer = await client.call(tool, port=pair[0])
    message = {"jsonrpc": "2.0", "id": await question(answer), **reply}
    assert (await client.post(message, port=pair[1])).status == 202
    assert said in str(await answer.outcome())


async def test_questions_of_two_nodes_are_not_mixed_up(client: Client, pair: Pair) -> None:
    asked = [await client.call("ask", port=port) for port in [*pair, *pair]]
    ids = [await question(answer) for answer in asked]
    assert len({*ids}) == len(ids)
    for number, (question_id, port) in enumerate(zip(ids, [*reversed(pair)] * 2, strict=True)):
        reply = {"action": "accept", "content": {"name": str(number)}}
        assert (await client.reply(question_id, reply, port=port)).status == 202
    assert [await answer.text() for answer in asked] == [f"accept {number}" for number in range(4)]


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


async def test_tool_hears_the_first_of_several_replies_and_no_later_one_hears_another(
    client: Client, pair: Pair
) -> None:
    first = await client.call("ask", port=pair[0])
    old = await question(first)
    for name, port in [("first", pair[1]), ("second", pair[1]), ("third", pair[0])]:
        reply = {"action": "accept", "content": {"name": name}}
        assert (await client.reply(old, reply, port=port)).status == 202
    assert [result_of(event.message) for event in await rest(first)] == ["accept first"]
    second = await client.call("ask", port=pair[0])
    new = await question(second)
    for port in pair:
        assert (await client.reply(old, {"action": "decline"}, port=port)).status == 202
    assert (await client.reply(new, {"action": "cancel"}, port=pair[1])).status == 202
    assert await second.text() == "cancel None"
