"""Tools that exit, raise anything or do not end, behind real servers: the process lives, and ends when it is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster.answer import Answer
from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site, rest, result_of
from tests.support.cluster.site.misbehaving import KINDS

DRAIN = 1.0
EXIT = DRAIN + 12.0

every_server = pytest.mark.parametrize("number", [0, 1], ids=["daphne", "uvicorn"])


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    with Site("daphne", "uvicorn", mcp={"DRAIN_SECONDS": DRAIN, "SSE_AFTER_SECONDS": 0.2}) as site:
        yield site


async def ended(answer: Answer) -> dict[str, Any]:
    """Return the response of a request, which must come."""
    message: dict[str, Any] = (await rest(answer))[-1].message if answer.is_stream else await answer.json()
    return message


def assert_crashed(message: dict[str, Any], tool: str) -> None:
    assert message["result"]["isError"], message
    assert result_of(message) == f"Error executing tool {tool}"


@every_server
@pytest.mark.parametrize("tool", ["misbehave", "misbehave_on_the_loop", "misbehave_in_a_task", "misbehave_aside"])
async def test_whatever_a_tool_raises_ends_its_own_call_alone(tool: str, number: int, shared: Site) -> None:
    node, name = shared.nodes[number], shared.new_name()
    async with Client(node.port) as client, Client(node.port) as neighbour:
        await client.initialize()
        await neighbour.initialize()
        going_on = await neighbour.call("count", {"name": name})
        await shared.until_runs(name)
        for kind in KINDS:
            for call in (client.call, client.call_alone):
                message = await ended(await call(tool, {"kind": kind}))
                if tool == "misbehave_aside":
                    assert result_of(message) == "done"
                else:
                    assert_crashed(message, tool)
        shared.let_go(name)
        assert result_of(await ended(going_on)) == f"counted to 3 on {node.pid}"
        assert result_of(await ended(await client.call("where"))) == str(node.pid)


@every_server
async def test_a_result_of_a_hundred_megabytes_is_refused_and_not_logged_in_redis(number: int, shared: Site) -> None:
    node = shared.nodes[number]
    async with Client(node.port) as client:
        await client.initialize()
        before = shared.redis.ask("INFO", "memory")["used_memory"]
        for call in (client.call, client.call_alone):
            message = await ended(await call("large", {"megabytes": 100}))
            assert message["result"]["isError"]
            assert result_of(message).endswith("at most 8388608 can be sent")
        assert shared.redis.ask("INFO", "memory")["used_memory"] - before < 10_000_000
        assert len(result_of(await ended(await client.call("large", {"megabytes": 8})))) == 8_000_000


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_ctrl_c_ends_the_server_after_a_tool_has_raised_what_it_raises(server: str) -> None:
    with Site(server, mcp={"DRAIN_SECONDS": DRAIN}) as site:
        [node] = site.nodes
        async with Client(node.port) as client:
            await client.initialize()
            for tool in ("misbehave", "misbehave_on_the_loop"):
                assert_crashed(await ended(await client.call(tool, {"kind": "interrupt"})), tool)
        os.kill(node.pid, signal.SIGINT)
        assert await asyncio.to_thread(node.wait, EXIT), f"it runs on:\n{node.fresh_log[-2000:]}"


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_a_tool_that_ignores_its_cancellation_does_not_keep_the_process(server: str) -> None:
    with Site(server, mcp={"DRAIN_SECONDS": DRAIN}) as site:
        [node] = site.nodes
        async with Client(node.port) as client:
            await client.initialize()
            calling = asyncio.ensure_future(client.call("stay", {"name": "stays"}))
            await site.until_runs("stays")
            node.terminate()
            assert await asyncio.to_thread(node.wait, EXIT), f"it runs on:\n{node.fresh_log[-2000:]}"
            message = await ended(await calling)
            assert "the server stopped" in message["error"]["message"]
        assert site.pids("stays", "cancelled") == [node.pid]
