"""Messages between two endpoints on one store, as tests; a subclass says which store that is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel.limits import MAX_ANSWER_BYTES, MAX_VALUES
from tests.support.backends import index_of
from tests.support.client import SessionClient, text_of
from tests.support.loop_guard import LIMIT, watching
from tests.support.tools import Gate

POLICY = Policy(max_bytes_in_flight=2**30, max_bytes_in_flight_per_caller=2**30)  # so that none of them is refused
SO_MANY = 12
BIG = 10**21


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


class MessageContract:
    """Replies of clients, and integers beyond 64 bits, between the endpoints of the fixture `nodes`."""

    @pytest.fixture
    def policy(self) -> Policy:
        return POLICY

    @pytest.fixture
    async def client(self, nodes: tuple[Endpoint, Endpoint]) -> SessionClient:
        """A client with a session, whose requests go to the first node."""
        client = SessionClient(nodes[0])
        await client.open()
        return client

    @pytest.mark.parametrize(("reply", "status"), [(_longest(), 202), (_fullest(), 400)], ids=["longest", "fullest"])
    async def test_replies_for_another_node_do_not_keep_the_loop_busy(
        self, nodes: tuple[Endpoint, Endpoint], client: SessionClient, reply: dict[str, Any], status: int
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

    async def test_large_integers_reach_every_node(self, nodes: tuple[Endpoint, Endpoint], gate: Gate) -> None:
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
        assert {
            entry.request_id for entry in await nodes[0].backend.sessions.history((await sessions(nodes[0]))[0])
        } >= {
            BIG,
            -BIG,
        }


async def sessions(endpoint: Endpoint) -> list[str]:
    return [session.key for session in (await index_of(endpoint.backend).page()).sessions]
