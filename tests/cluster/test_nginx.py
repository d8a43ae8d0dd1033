"""nginx takes the nodes in turn, passes events on at once, and sends no POST again that a node may have run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.cluster.client import Client
from tests.support.nginx import Nginx
from tests.support.node import SERVERS, Node
from tests.support.processes import LOOPBACK
from tests.support.wire import HOST, Request

POST = Request(headers=(HOST,), body=b"{}")
GET = Request(method="GET", headers=(HOST,))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 4\r\n\r\nbusy"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Stand:
    """Stands in for a node: reads a request, then behaves as the test says."""

    def __init__(self, behave: Behaviour) -> None:
        self.requests: list[str] = []
        self.left = asyncio.Event()
        self._behave = behave
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
                await reader.readexactly(int(length[1]) if length else 0)
                self.requests.append(head)
                await self._behave(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.left.set()
            writer.close()


@asynccontextmanager
async def behind_nginx(*behaviours: Behaviour) -> AsyncIterator[tuple[Nginx, list[Stand], Client]]:
    stands = [Stand(behave) for behave in behaviours]
    servers = [await asyncio.start_server(stand, LOOPBACK, 0) for stand in stands]
    for stand, server in zip(stands, servers, strict=True):
        stand.port = server.sockets[0].getsockname()[1]
    nginx = Nginx([stand.port for stand in stands])
    await asyncio.to_thread(nginx.start)
    try:
        async with Client(nginx.port) as client:
            yield nginx, stands, client
    finally:
        await asyncio.to_thread(nginx.stop)
        for server in servers:
            server.close()
            await server.wait_closed()


def saying(text: bytes) -> Behaviour:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return say


async def die(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


# -- whose turn it is ----------------------------------------------------------------------------------------


async def test_requests_go_to_the_nodes_in_turn_whoever_sends_them() -> None:
    async with behind_nginx(*[saying(OK)] * 3) as (nginx, stands, client):
        same = Request(headers=(HOST, ("Mcp-Session-Id", "the-same"), ("Cookie", "a=b")), body=b"{}")
        for _ in range(9):
            assert await (await client.send(same)).read() == b"ok"
        assert [len(stand.requests) for stand in stands] == [3, 3, 3]
        assert await asyncio.to_thread(nginx.await_turns, 9) == [f"{LOOPBACK}:{stand.port}" for stand in stands] * 3


async def test_request_arrives_as_it_was_sent() -> None:
    async with behind_nginx(saying(OK)) as (nginx, [stand], client):
        host = f"localhost:{nginx.port}"
        await client.send(Request(headers=(("Host", host), ("Last-Event-ID", "a-1")), body=b"{}"))
        [head] = stand.requests
        assert f"\r\nHost: {host}\r\n" in head
        assert "\r\nLast-Event-ID: a-1\r\n" in head
        assert not re.search(r"(?i)^connection: close", head, re.M)


# -- dead, stopping and dying nodes --------------------------------------------------------------------------


async def test_post_goes_on_where_a_node_refuses_the_connection() -> None:
    async with behind_nginx(saying(OK)) as (nginx, [stand], client):
        gone = await asyncio.start_server(stand, LOOPBACK, 0)
        nginx.ports.insert(0, gone.sockets[0].getsockname()[1])
        gone.close()
        await gone.wait_closed()
        await asyncio.to_thread(nginx.restart)
        for _ in range(4):
            assert (await client.send(POST)).status == 200
        assert len(stand.requests) == 4


async def test_post_is_not_sent_again_when_its_node_dies_with_it() -> None:
    async with behind_nginx(die, saying(OK)) as (_, [dying, other], client):
        assert (await client.send(POST)).status == 502
        assert (len(dying.requests), len(other.requests)) == (1, 0)


async def test_get_is_sent_again_when_its_node_dies_with_it() -> None:
    async with behind_nginx(die, saying(OK)) as (_, [_, other], client):
        assert (await client.send(GET)).status == 200
        assert len(other.requests) == 1


async def test_get_goes_on_where_a_node_is_stopping() -> None:
    async with behind_nginx(saying(BUSY), saying(OK)) as (_, _, client):
        for _ in range(4):
            assert (await client.send(GET)).status == 200


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
async def test_refusal_by_all_nodes_reaches_the_client(request_: Request) -> None:
    async with behind_nginx(saying(BUSY), saying(BUSY)) as (_, _, client):
        for _ in range(6):
            answer = await client.send(request_)
            assert (answer.status, answer.headers["retry-after"]) == (503, "2")


# -- streams -------------------------------------------------------------------------------------------------


def test_buffering_is_off(tmp_path: Path) -> None:
    # The lock-step below would not notice: nginx flushes its buffers, too, when a node pauses.
    assert re.search(r"^\s*proxy_buffering off;", Nginx([1], folder=tmp_path).configuration(), re.M)


async def test_each_event_arrives_before_the_next_is_sent() -> None:
    seen = asyncio.Semaphore(0)

    async def in_lock_step(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for number in range(1, 6):
            event = b"id: a-%d\ndata: {}\n\n" % number
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            async with asyncio.timeout(10):
                await seen.acquire()
        writer.write(b"0\r\n\r\n")

    async with behind_nginx(in_lock_step) as (_, _, client):
        answer = await client.send(POST)
        ids = []
        while (event := await answer.next_event()) is not None:
            ids.append(event.id)
            seen.release()
        assert ids == [f"a-{number}" for number in range(1, 6)]
        assert not answer.broken


@pytest.fixture(params=SERVERS)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Node, Nginx]]:
    with Node(request.param) as node, Nginx([node.port]) as nginx:
        yield node, nginx


async def test_stream_of_a_killed_node_breaks_off(served: tuple[Node, Nginx]) -> None:
    node, nginx = served
    async with Client(nginx.port) as client:
        await client.initialize()
        stream = await client.get()
        assert (await stream.next_event()) is not None
        node.kill()
        assert await stream.next_event() is None
        assert stream.broken
        assert (await client.get()).status == 502


async def test_client_that_leaves_is_noticed_by_the_node() -> None:
    async with behind_nginx(saying(STREAM + b"a\r\ndata: {}\n\n\r\n")) as (_, [stand], client):
        answer = await client.send(POST)
        assert await answer.next_event() is not None
        answer.cut()
        async with asyncio.timeout(10):
            await stand.left.wait()
