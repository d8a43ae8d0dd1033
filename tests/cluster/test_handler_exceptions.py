"""Tools that exit, raise anything or do not end, behind real servers: the process lives, and ends when it is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.cluster.nodes import Site, rest, result_of
from tests.support.cluster.site.misbehaving import KINDS
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer
from tests.support.node import Node
from tests.support.processes import start_all

DRAIN = 1.0
EXIT = DRAIN + 12.0


@pytest.fixture(scope="module")
def site(programs: None) -> Iterator[Site]:
    with Site("daphne", "uvicorn", mcp={"DRAIN_SECONDS": DRAIN, "SSE_AFTER_SECONDS": 0.2}) as site:
        yield site


@pytest.fixture(autouse=True)
def running(site: Site) -> None:
    """Start the nodes again that the test before has ended."""
    start_all([node for node in site.nodes if not node.alive])


@pytest.fixture(params=[0, 1], ids=["daphne", "uvicorn"])
def node(site: Site, request: pytest.FixtureRequest) -> Node:
    node: Node = site.nodes[request.param]
    return node


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    async with Client(node.port) as client:
        await client.initialize()
        yield client


async def ended(answer: SocketAnswer) -> dict[str, Any]:
    """Return the response of a request, which must come."""
    message: dict[str, Any] = (await rest(answer))[-1].message if answer.is_stream else await answer.json()
    return message


def assert_crashed(message: dict[str, Any], tool: str) -> None:
    assert message["result"]["isError"], message
    assert result_of(message) == f"Error executing tool {tool}"


@pytest.mark.parametrize("tool", ["misbehave", "misbehave_on_the_loop", "misbehave_in_a_task", "misbehave_aside"])
async def test_whatever_a_tool_raises_ends_its_own_call_alone(
    tool: str, site: Site, node: Node, client: Client
) -> None:
    name = site.new_name()
    async with Client(node.port) as neighbour:
        await neighbour.initialize()
        going_on = await neighbour.call("count", {"name": name})
        await site.until_runs(name)
        for kind in KINDS:
            for call in (client.call, client.call_alone):
                message = await ended(await call(tool, {"kind": kind}))
                if tool == "misbehave_aside":
                    assert result_of(message) == "done"
                else:
                    assert_crashed(message, tool)
        site.let_go(name)
        assert result_of(await ended(going_on)) == f"counted to 3 on {node.pid}"
        assert result_of(await ended(await client.call("where"))) == str(node.pid)


async def test_a_result_of_a_hundred_megabytes_is_refused_and_not_logged_in_redis(site: Site, client: Client) -> None:
    before = site.redis.ask("INFO", "memory")["used_memory"]
    for call in (client.call, client.call_alone):
        message = await ended(await call("large", {"megabytes": 100}))
        assert message["result"]["isError"]
        assert result_of(message).endswith("at most 8388608 can be sent")
    assert site.redis.ask("INFO", "memory")["used_memory"] - before < 10_000_000
    assert len(result_of(await ended(await client.call("large", {"megabytes": 8})))) == 8_000_000


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_neither_ctrl_c_nor_sigterm_waits_for_what_tools_raised_or_ignore(number: int, site: Site) -> None:
    for node in site.nodes:
        node.end()
    start_all(site.nodes)  # with the signal's handler that `ctrl_c` has put in place
    await asyncio.gather(*(ends_by(number, node, site) for node in site.nodes))


async def ends_by(number: int, node: Node, site: Site) -> None:
    """Have tools raise what would end a process, or ignore its end; then signal the node, which must end."""
    async with Client(node.port) as client:
        await client.initialize()
        for tool in ("misbehave", "misbehave_on_the_loop"):
            assert_crashed(await ended(await client.call(tool, {"kind": "interrupt"})), tool)
        name, staying = site.new_name(), None
        if number == signal.SIGTERM:
            staying = asyncio.ensure_future(client.call("stay", {"name": name}))
            await site.until_runs(name)
        os.kill(node.pid, number)
        assert await asyncio.to_thread(node.wait, EXIT), f"it runs on:\n{node.fresh_log[-2000:]}"
        if staying is not None:
            message = await ended(await staying)
            assert "the server stopped" in message["error"]["message"]
            assert site.pids(name, "cancelled") == [node.pid]
