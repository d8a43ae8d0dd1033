"""Messages between nodes through Redis: no copies, no busy loop, unchanged integers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from redis import Redis

from mcp_transport.backends.codec import decode_message, encode_message
from mcp_transport.domain.node_messages import NodeMessage, ReplyArrived
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel.limits import MAX_ANSWER_BYTES, MAX_VALUES
from tests.support.backends import index_of
from tests.support.client import SessionClient, text_of
from tests.support.loop_guard import LIMIT, watching
from tests.support.redis.backend import build, leave
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

pytestmark = pytest.mark.servers

POLICY = Policy(max_bytes_in_flight=2**30, max_bytes_in_flight_per_caller=2**30)  # so that none of them is refused
SO_MANY = 12


class Uncopied(str):
    """A client's text, which must not be copied."""

    __slots__ = ()

    def __deepcopy__(self, memo: Any) -> str:
        raise AssertionError("a client's text was copied")


def test_a_message_to_another_node_is_written_without_a_copy() -> None:
    message = ReplyArrived("n.1.2.p", {"content": {"name": [Uncopied("Ann")]}}, None)
    assert decode_message(encode_message(message)) == ReplyArrived("n.1.2.p", {"content": {"name": ["Ann"]}}, None)


@pytest.fixture
def policy() -> Policy:
    return POLICY


def _accepted(content: dict[str, Any]) -> dict[str, Any]:
    return {"action": "accept", "content": content}


def _longest() -> dict[str, Any]:
    """Return a reply with the maximum of bytes and values."""
    words = ["x"] * (MAX_VALUES - 10)
    room = MAX_ANSWER_BYTES - len(json.dumps(_accepted({"name": "", "more": words}), separators=(",", ":")))
    return _accepted({"name": "x" * room, "more": words})


def _fullest() -> dict[str, Any]:
    """Return a reply with the maximum of values in a body."""
    objects: list[dict[str, Any]] = [
        {} for _ in range(POLICY.max_request_values // 2 - 10)
    ]  # each is a comma and a bracket
    return _accepted({"name": "x", "more": objects})


@pytest.mark.parametrize(("reply", "status"), [(_longest(), 202), (_fullest(), 400)], ids=["longest", "fullest"])
async def test_replies_for_another_node_do_not_keep_the_loop_busy(
    nodes: tuple[Endpoint, Endpoint], client: SessionClient, reply: dict[str, Any], status: int
) -> None:
    calls = [await client.call("ask", id=f"c{number}") for number in range(SO_MANY)]
    ids = [(await call.message())["id"] for call in calls]
    found: list[str] = []
    with watching(found.append):
        answers = await asyncio.gather(*(client.reply(id, reply, endpoint=nodes[1]) for id in ids))
        ended = [(await call.messages())[-1] for call in calls]
    assert {answer.status for answer in answers} == {status}
    assert all(("error" in last or last["result"].get("isError", False)) is (status != 202) for last in ended)
    assert not found, f"one callback took more than {LIMIT} s of processor time: {found}"


async def test_other_tasks_run_between_the_long_messages_of_a_full_inbox(server: RedisServer) -> None:
    """An inbox holds up to 64 MiB, which take the loop a fifth of a second; all are there before the next read."""
    long, turn, delivered_in = ReplyArrived("n.1.2.p", {"name": "x" * 2**20}, None), 0, list[int]()

    def deliver(message: NodeMessage) -> None:
        delivered_in.append(turn)
        if len(delivered_in) == 1:
            with Redis.from_url(server.admin_url) as client:
                for _ in range(8):
                    client.xadd("mcp:{in:n1}:q", {"m": encode_message(long)})

    backend = build(server, POLICY)
    try:
        await backend.bus.start("n1", deliver)
        assert await backend.bus.send("n1", long)
        async with asyncio.timeout(60):
            while len(delivered_in) < 9:
                turn += 1
                await asyncio.sleep(0)
    finally:
        await leave(backend)
    assert len({*delivered_in}) == 9


# -- integers beyond 64 bits ---------------------------------------------------------------------------


BIG = 10**21


async def test_large_integers_reach_every_node(nodes: tuple[Endpoint, Endpoint], gate: Gate) -> None:
    client = SessionClient(nodes[0])
    there: dict[str, Any] = {"endpoint": nodes[1]}
    await client.open({"elicitation": {}, "experimental": {"n": {"n": BIG}}})
    stream = await client.call("ask", id=BIG)
    question = await stream.message()
    assert question is not None
    answer = {"action": "accept", "content": {"name": BIG}}
    assert (await client.reply(question["id"], answer, **there)).status == 202
    assert str(BIG) in (await stream.text())
    gate.entered.clear()
    running = asyncio.ensure_future(client.call("blocked", id=-BIG, headers={"accept": "application/json"}))
    await gate.wait(gate.entered)
    assert (await client.request("ping", id=-BIG, **there)).status == 400
    assert (await client.notify("notifications/cancelled", {"requestId": -BIG}, **there)).status == 202
    assert (await running).error_code == -32800
    assert text_of(
        (await client.request("tools/call", {"name": "add", "arguments": {"a": BIG, "b": 1}})).json
    ) == str(BIG + 1)
    assert {entry.request_id for entry in await nodes[0].backend.sessions.history((await sessions(nodes[0]))[0])} >= {
        BIG,
        -BIG,
    }


async def sessions(endpoint: Endpoint) -> list[str]:
    return [session.key for session in (await index_of(endpoint.backend).page()).sessions]
