"""Replies that another node sends on by Redis: its loop copies nothing of them, and is not kept busy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport.backends.redis.codec import decode_message, encode_message
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from mcp_transport.kernel.limits import MAX_ANSWER_BYTES, MAX_VALUES
from mcp_transport.protocol.inbox import ReplyArrived
from mcp_transport.protocol.policy import Policy
from tests.support.client import SessionClient
from tests.support.loop_guard import LIMIT, watching
from tests.support.redis.backend import build, leave
from tests.support.redis.server import RedisServer
from tests.support.tools import KEYS, Gate, build_tools

POLICY = Policy(max_bytes_in_flight=2**30, max_bytes_in_flight_per_caller=2**30)  # so that none of them is refused
SO_MANY = 12


class Uncopied(str):
    """Text of a client, which must not be copied."""

    __slots__ = ()

    def __deepcopy__(self, memo: Any) -> str:
        raise AssertionError("a client's text was copied")


def test_a_message_to_another_node_is_written_without_a_copy() -> None:
    message = ReplyArrived("n.1.2.p", {"content": {"name": [Uncopied("Ann")]}}, None)
    assert decode_message(encode_message(message)) == ReplyArrived("n.1.2.p", {"content": {"name": ["Ann"]}}, None)


@pytest.fixture
async def nodes(server: RedisServer) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    """Two nodes that have joined, on a Redis that was emptied."""
    server.cli("FLUSHALL")
    gate = Gate()
    built = [
        Endpoint(Kernel(build_tools(gate)), build(server, POLICY), POLICY, keys=KEYS, session_keys=KEYS)
        for _ in range(2)
    ]
    for endpoint in built:
        await endpoint.node()
    yield built[0], built[1]
    gate.open.set()
    for endpoint in built:
        await endpoint.stop()
        await leave(endpoint.backend)  # type: ignore[arg-type]


def _accepted(content: dict[str, Any]) -> dict[str, Any]:
    return {"action": "accept", "content": content}


def _longest() -> dict[str, Any]:
    """Return a reply of as many bytes and values as it may have."""
    words = ["x"] * (MAX_VALUES - 10)
    room = MAX_ANSWER_BYTES - len(json.dumps(_accepted({"name": "", "more": words}), separators=(",", ":")))
    return _accepted({"name": "x" * room, "more": words})


def _fullest() -> dict[str, Any]:
    """Return a reply of as many values as a body may have."""
    objects = [{} for _ in range(POLICY.max_request_values // 2 - 10)]  # each is a comma and a bracket
    return _accepted({"name": "x", "more": objects})


@pytest.mark.parametrize(("reply", "status"), [(_longest(), 202), (_fullest(), 400)], ids=["longest", "fullest"])
async def test_replies_for_another_node_do_not_keep_the_loop_busy(
    nodes: tuple[Endpoint, Endpoint], reply: dict[str, Any], status: int
) -> None:
    client = SessionClient(nodes[0])
    await client.open()
    calls = [await client.call("ask", id=f"c{number}") for number in range(SO_MANY)]
    ids = [(await call.message())["id"] for call in calls]
    found: list[str] = []
    with watching(found.append):
        answers = await asyncio.gather(*(client.reply(id, reply, endpoint=nodes[1]) for id in ids))
        ended = [(await call.messages())[-1] for call in calls]
    assert {answer.status for answer in answers} == {status}
    assert all(("error" in last or last["result"].get("isError", False)) is (status != 202) for last in ended)
    assert not found, f"one callback took more than {LIMIT} s of processor time: {found}"
