"""HAProxy asks nodes whether they are ready, and answers for them when none is; `test_proxies` runs the rest."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_transport.deployment import Deployment, emit
from mcp_transport.protocol.policy import Policy
from tests.deploy.proxies import HAProxy
from tests.support.cluster.client import Client
from tests.support.processes import LOOPBACK
from tests.support.programs import need
from tests.support.wire import HOST, Request

GET = Request(method="GET", headers=(HOST,))
POST = Request(headers=(HOST,), body=b"{}")
DEPLOYMENT = Deployment(policy=Policy())

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Node:
    """Says on /readyz what the test wants, and its name on every other path."""

    def __init__(self, name: str) -> None:
        self.name, self.is_ready = name, True
        self.server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        """Listen; return the port."""
        self.server = await asyncio.start_server(self, LOOPBACK, 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Refuse connections, and cut those there are."""
        assert self.server is not None
        self.server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.server.wait_closed()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2 if head.startswith(b"POST ") else 0)
                is_red = head.startswith(b"GET /readyz ") and not self.is_ready
                status = b"503 Service Unavailable" if is_red else b"200 OK"
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: 1\r\n\r\n%s" % (status, self.name.encode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def behind_haproxy(*nodes: Node) -> AsyncIterator[tuple[HAProxy, Client]]:
    proxy = HAProxy([await node.start() for node in nodes])
    try:
        await asyncio.to_thread(proxy.start)
        async with Client(proxy.port) as client:
            yield proxy, client
    finally:
        await asyncio.to_thread(proxy.stop)
        for node in nodes:
            await node.stop()


pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    need("haproxy")


async def test_node_that_is_not_ready_is_left_out_within_the_notice_it_gives() -> None:
    one, other = Node("1"), Node("2")
    async with behind_haproxy(one, other) as (_, client):
        assert {await (await client.send(GET)).read() for _ in range(8)} == {b"1", b"2"}
        one.is_ready = False
        began = time.monotonic()
        while {await (await client.send(GET)).read() for _ in range(8)} != {b"2"}:
            assert time.monotonic() - began < DEPLOYMENT.notice
            await asyncio.sleep(0.1)
        one.is_ready = True
        while {await (await client.send(GET)).read() for _ in range(8)} != {b"1", b"2"}:
            assert time.monotonic() - began < 3 * DEPLOYMENT.notice
            await asyncio.sleep(0.1)


async def test_request_that_a_node_refuses_to_take_goes_on() -> None:
    one, other = Node("1"), Node("2")
    async with behind_haproxy(one, other) as (_, client):
        assert {await (await client.send(POST)).read() for _ in range(8)} == {b"1", b"2"}
        await one.stop()  # no check has noticed yet
        for _ in range(8):
            assert await (await client.send(POST)).read() == b"2"


async def test_clients_are_told_when_to_come_back_where_no_node_is_ready() -> None:
    node = Node("1")
    node.is_ready = False
    async with behind_haproxy(node) as (_, client):
        began = time.monotonic()
        while (answer := await client.send(GET)).status == 200:
            assert time.monotonic() - began < DEPLOYMENT.notice
            await asyncio.sleep(0.1)
        assert (answer.status, answer.headers["retry-after"]) == (503, str(DEPLOYMENT.check_interval))
        assert answer.headers["content-type"] == "application/json"


async def test_numbers_are_on_a_port_of_their_own_and_statistics_are_off() -> None:
    async with behind_haproxy(Node("1")) as (proxy, client):
        text = await asyncio.to_thread(_numbers, proxy.metrics_port)
        assert 'haproxy_server_check_status{proxy="nodes",server="mcp-1"' in text
        for path in ("/haproxy?stats", "/;csv"):
            answer = await client.send(Request(method="GET", path=path, headers=(HOST,)))
            assert await answer.read() == b"1"  # a node's own answer


def _numbers(port: int) -> str:
    with _opener.open(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_what_is_said_in_the_configuration() -> None:
    text = emit("haproxy", DEPLOYMENT)["haproxy.cfg"]
    # Numbers are for this machine alone.
    assert [line for line in text.splitlines() if "bind" in line and "8405" in line] == ["    bind 127.0.0.1:8405"]
    assert "stats" not in text.replace("statistics", "")
    # Without it small events wait for 40 ms; that is too little to be told from a busy machine by a run.
    assert "    option http-no-delay\n" in text
    assert 2 * DEPLOYMENT.check_interval < DEPLOYMENT.notice, "two checks fit into the notice that a node gives"
