"""Reused request ids on a real Redis, also on one that has not loaded the scripts yet."""

from __future__ import annotations

import asyncio

import pytest
import redis

from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import SessionClient, text_of, until
from tests.support.redis.backend import client_of
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

pytestmark = pytest.mark.servers

ROUNDS = 20


@pytest.fixture(params=["one connection", "many connections"], autouse=True)
async def connections(request: pytest.FixtureRequest, nodes: tuple[Endpoint, Endpoint]) -> None:
    """On several connections, commands may overtake one another, as in a Cluster."""
    for endpoint in nodes:
        client_of(endpoint.backend).batcher._shares_connection = request.param == "one connection"


@pytest.mark.parametrize("step", [0, 1], ids=["one node", "two nodes"])
@pytest.mark.parametrize("forgets", [True, False], ids=["scripts unknown", "scripts known"])
async def test_an_id_is_free_with_its_answer(
    server: RedisServer, nodes: tuple[Endpoint, Endpoint], client: SessionClient, step: int, forgets: bool
) -> None:
    with redis.Redis.from_url(server.admin_url) as admin:
        for number in range(ROUNDS):
            if forgets:
                admin.script_flush()
            arguments = {"name": "add", "arguments": {"a": number, "b": 0}}
            answer = await client.request("tools/call", arguments, id=7, endpoint=nodes[number * step % 2])
            assert text_of(answer.json) == str(number)


async def test_an_id_is_free_with_its_answer_on_a_stream(
    nodes: tuple[Endpoint, Endpoint], client: SessionClient, gate: Gate
) -> None:
    gate.open.set()
    for number in range(ROUNDS):
        answer = await client.call("count", {"steps": number % 3}, id=7, endpoint=nodes[number % 2])
        assert text_of((await answer.messages())[-1]) == "counted"
    assert gate.runs == ROUNDS


async def test_another_request_with_the_id_of_one_that_runs_is_refused(
    nodes: tuple[Endpoint, Endpoint], client: SessionClient, gate: Gate
) -> None:
    running = asyncio.ensure_future(client.call("blocked", id=7, headers={"accept": "application/json"}))
    await gate.wait(gate.entered)
    refused = await client.request("ping", id=7, endpoint=nodes[1])
    assert (refused.status, refused.json["id"]) == (400, 7)
    gate.open.set()
    assert text_of((await running).json) == "through"


async def test_a_cancellation_that_comes_first_is_answered(
    nodes: tuple[Endpoint, Endpoint], client: SessionClient, gate: Gate
) -> None:
    await client.notify("notifications/cancelled", {"requestId": 18}, endpoint=nodes[1])
    answer = await client.call("add", {"a": 1, "b": 2}, id=18)
    assert (answer.error_code, answer.json["id"], gate.runs) == (-32800, 18, 0)


@pytest.mark.parametrize("policy", [Policy(lease=1.0)], ids=["lease of a second"])
async def test_a_gone_nodes_id_is_free_when_its_calls_were_taken_over(
    nodes: tuple[Endpoint, Endpoint], client: SessionClient, gate: Gate
) -> None:
    running = asyncio.ensure_future(client.call("blocked", id=7))
    await gate.wait(gate.entered)
    node = await nodes[0].pool.node()
    await nodes[0].backend.bus.stop(node.id)
    refused = await client.request("ping", id=7, endpoint=nodes[1])
    assert (refused.status, refused.json["id"]) == (503, 7)
    served = []

    async def again() -> None:
        served.append((await client.request("ping", id=7, endpoint=nodes[1])).status)

    await again()
    async with asyncio.timeout(60):
        while served[-1] != 200:
            await again()
    running.cancel()
    await until(running.done)
