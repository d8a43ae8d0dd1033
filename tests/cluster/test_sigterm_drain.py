"""SIGTERM, and `mcp_drain` before it: nodes are stopped under load, and no call fails."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.support.cluster.load import Load
from tests.support.cluster.stage import Stage, assert_lost, events_of, numbers, some_events, until
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.http.request import BOTH
from tests.support.nginx import Nginx
from tests.support.node import Node
from tests.support.processes import LOOPBACK

DRAIN = 4.0
EXIT = DRAIN + 10.0
"""Seconds after which a process must have ended, on a machine that has much to do."""
CLIENTS = 4

every_server = pytest.mark.parametrize("number", [0, 1], ids=["daphne", "uvicorn"])


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    settings: dict[str, Any] = {
        "LEASE_SECONDS": 2.0,
        "DRAIN_SECONDS": DRAIN,
        "SSE_AFTER_SECONDS": 0.2,
        "RETRY_MILLISECONDS": 100,
    }
    with Stage(["daphne", "uvicorn", "daphne"], **settings) as stage:
        stage.open("load")
        yield stage


@pytest.fixture(scope="module")
def nginx(shared: Stage) -> Iterator[Nginx]:
    with Nginx(shared.ports) as nginx:
        yield nginx
        print(nginx.log)  # pytest shows it when a test failed


def ping(connection: HTTPConnection, client: Client) -> tuple[int, str | None]:
    """Send a request on a connection that stays open; return its status, and what becomes of the connection."""
    headers = {"Content-Type": "application/json", "Accept": BOTH, "Mcp-Session-Id": client.session_id}
    message = {"jsonrpc": "2.0", "id": f"ping-{next(client.ids)}", "method": "ping"}
    connection.request("POST", "/mcp", json.dumps(message), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers["Connection"]


async def exits(node: Node) -> None:
    """Wait for the end of a process."""
    assert await asyncio.to_thread(node.wait, EXIT), f"{node.name} runs on:\n{node.fresh_log[-2000:]}"


@every_server
async def test_streams_end_and_calls_of_every_kind_go_on_to_their_end(stage: Stage, number: int) -> None:
    node, name = stage.nodes[number], f"drained-{number}"
    async with Client(node.port) as client, Client(node.port, headers={"Accept": "application/json"}) as plain:
        await client.initialize()
        await plain.initialize()
        stream = await client.get()
        calls = [await client.call(tool, {"name": name}) for tool in ("count", "silent", "blocking")]
        waiting = [plain.call("silent", {"name": name}), client.call_alone("silent", {"name": name})]
        documents = [asyncio.ensure_future(call) for call in waiting]
        await some_events(calls[0], 3)
        await stage.await_pids(name, count=5)
        open_before = HTTPConnection(LOOPBACK, node.port, timeout=PATIENCE)
        assert await asyncio.to_thread(ping, open_before, client) == (200, None)
        node.terminate()
        assert await events_of(stream) == []
        assert not stream.broken
        assert stream.retry is not None and stream.retry >= 100
        assert not stage.is_ready(node)
        with pytest.raises(ConnectionRefusedError):  # so a proxy asks another node
            await client.call("add", {"a": 1, "b": 2})
        assert await asyncio.to_thread(ping, open_before, client) == (200, "close")
        assert open_before.sock is None
        stage.open(name)
        for answer in [*calls, *await asyncio.gather(*documents)]:
            assert (await answer.text()).endswith(f" on {node.pid}")
        await exits(node)
        assert "drained: " in node.fresh_log


@every_server
async def test_calls_that_last_longer_are_told_and_the_news_can_be_had_elsewhere(stage: Stage, number: int) -> None:
    node, other = stage.nodes[number], stage.nodes[1 - number]
    async with Client(node.port, other.port) as client:
        await client.initialize()
        answer = await client.call("count", {"name": f"long-{number}"})
        safe = await client.call("count_safely", {"name": f"long-{number}"})
        seen = await some_events(answer, 3)
        began = time.monotonic()
        node.terminate()
        [last] = await events_of(answer)
        assert_lost(last.message, retryable=False)
        assert_lost((await events_of(safe))[-1].message, retryable=True)
        await exits(node)
        assert time.monotonic() - began > DRAIN
        resumed = await client.get(seen[0].id, other.port)
        events = await events_of(resumed)
        assert numbers(events) == [2, 3, 4]
        assert events[-1] == last
        assert len(stage.pids(f"long-{number}", "cancelled")) == 2
        assert "abandoned: " in node.fresh_log


async def test_a_rolling_restart_loses_no_call_and_no_event(stage: Stage, nginx: Nginx) -> None:
    async with Load(nginx.port, CLIENTS) as load:
        for node in stage.nodes:
            await load.more(30)
            node.terminate()
            await exits(node)
            await load.more(30)
            await asyncio.to_thread(node.start)
        await load.more(60)
    assert load.calls > 150


async def test_posts_go_elsewhere_while_a_long_call_keeps_a_node(stage: Stage, nginx: Nginx) -> None:
    async with Client(nginx.port) as client, Load(nginx.port, CLIENTS) as load:
        await client.initialize()
        long = await client.call("count", {"name": "keeps"})
        await some_events(long, 3)
        node = stage.node_of((await stage.await_pids("keeps"))[0])
        await load.more(30)
        node.terminate()
        await until(lambda: not stage.is_ready(node), "its port is closed")
        await load.more(40)
        assert (node.alive, load.retries) == (True, 0)
        stage.open("keeps")
        assert "result" in (await events_of(long))[-1].message
        await exits(node)
