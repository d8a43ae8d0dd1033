"""Integers beyond 64 bits on their way through Redis: ids, answers to questions, a client's description of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from mcp_transport.protocol.policy import Policy
from tests.support.client import SessionClient, text_of
from tests.support.redis.backend import build, leave
from tests.support.redis.server import RedisServer
from tests.support.tools import KEYS, Gate, build_tools

BIG = 10**21


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def nodes(server: RedisServer, gate: Gate) -> Any:
    server.cli("FLUSHALL")
    policy = Policy()
    built = [
        Endpoint(Kernel(build_tools(gate)), build(server, policy), policy, keys=KEYS, session_keys=KEYS)
        for _ in range(2)
    ]
    yield built
    gate.open.set()
    for endpoint in built:
        await endpoint.stop()
        await leave(endpoint.backend)  # type: ignore[arg-type]


async def test_large_integers_reach_every_node(server, nodes, gate):
    client, there = SessionClient(nodes[0]), {"endpoint": nodes[1]}
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
    assert {entry.request_id for entry in await nodes[0].backend.history((await sessions(nodes[0]))[0])} >= {
        BIG,
        -BIG,
    }


async def sessions(endpoint: Endpoint) -> list[str]:
    return [session.key for session in (await endpoint.backend.sessions()).sessions]
