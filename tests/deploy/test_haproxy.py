"""HAProxy checks readiness, and answers 503 if no node is ready; `test_proxies` tests the rest."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from tests.deploy.proxies import HAProxy
from tests.deploy.stands import behind, named, until_all
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.http.request import HOST, Request
from tests.support.programs import need

GET = Request(method="GET", headers=(HOST,))
POST = Request(headers=(HOST,), body=b"{}")
DEPLOYMENT = Deployment(policy=Policy())


pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    need("haproxy")


async def answer_to(client: Client, request: Request) -> bytes:
    """Return the name of the node that answers."""
    return await (await client.send(request)).read()


async def answers(client: Client, request: Request) -> set[bytes]:
    """Return the nodes that answer a few requests."""
    return {await answer_to(client, request) for _ in range(8)}


async def test_node_that_is_not_ready_is_left_out_and_comes_back() -> None:
    async with behind(HAProxy, named("1"), named("2")) as ([one, _], client, _):
        await until_all({b"1", b"2"}, lambda: answer_to(client, GET))
        for is_ready, left in ((False, {b"2"}), (True, {b"1", b"2"})):
            one.is_ready = is_ready
            async with asyncio.timeout(PATIENCE):
                while await answers(client, GET) != left:
                    continue  # each attempt sends several requests


async def test_request_that_a_node_refuses_to_take_goes_on() -> None:
    async with behind(HAProxy, named("1"), named("2")) as ([one, _], client, _):
        await until_all({b"1", b"2"}, lambda: answer_to(client, POST))
        await one.stop()  # before the next check
        assert await answers(client, POST) == {b"2"}


async def test_node_is_taken_out_by_the_socket() -> None:
    async with behind(HAProxy, named("1"), named("2")) as (_, client, proxy):
        await until_all({b"1", b"2"}, lambda: answer_to(client, GET))
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(proxy.folder / "admin.sock"))
            admin.sendall(b"set server nodes/mcp-1 state drain\n")
            assert admin.recv(1000).strip() == b""
        assert await answers(client, POST) == {b"2"}


async def test_clients_are_told_when_to_come_back_where_no_node_is_ready() -> None:
    async with behind(HAProxy, named("1"), ready=False) as (_, client, _):
        async with asyncio.timeout(PATIENCE):
            while (answer := await client.send(GET)).status == 200:
                continue
        assert (answer.status, answer.headers["retry-after"]) == (503, str(DEPLOYMENT.check_interval))
        assert answer.headers["content-type"] == "application/json"


async def test_numbers_are_on_a_port_of_their_own_and_statistics_are_off() -> None:
    async with behind(HAProxy, named("1")) as (_, client, proxy):
        answer = await client.send(Request(method="GET", path="/metrics", headers=(HOST,)), proxy.metrics_port)
        assert b'haproxy_server_check_status{proxy="nodes",server="mcp-1"' in await answer.read()
        for path in ("/haproxy?stats", "/;csv"):
            answer = await client.send(Request(method="GET", path=path, headers=(HOST,)))
            assert await answer.read() == b"1"  # a node's own answer


def test_what_is_said_in_the_configuration() -> None:
    text = generate("haproxy", DEPLOYMENT)["haproxy.cfg"]
    # Metrics are only for this machine.
    assert [line for line in text.splitlines() if "bind" in line and "8405" in line] == ["    bind 127.0.0.1:8405"]
    # The socket is a file for root and the group, and there is no page.
    assert re.findall(r"^ *stats .*$", text, re.M) == [
        "    stats socket /run/haproxy/admin.sock user root group haproxy mode 660 level admin"
    ]
    # Without it small events are delayed by 40 ms, too little to measure on a busy machine.
    assert "    option http-no-delay\n" in text
    assert 2 * DEPLOYMENT.check_interval < DEPLOYMENT.drain_notice, "two checks fit into the notice that a node gives"
