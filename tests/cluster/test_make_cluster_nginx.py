"""nginx of `make cluster` takes the nodes in turn, passes events on at once, and sends no POST again.

What the emitted configurations do is in tests/deploy/test_proxies.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.http.client import Client
from tests.support.http.request import HOST, Request
from tests.support.nginx import Nginx
from tests.support.processes import LOOPBACK, free_port

POST, GET = Request(headers=(HOST,), body=b"{}"), Request(method="GET", headers=(HOST,))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 4\r\n\r\nbusy"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DIES, GONE = b"", None


class Stand:
    """Stands in for a node: reads a request, then answers with bytes, or dies without any."""

    def __init__(self, answer: bytes) -> None:
        self.requests: list[str] = []
        self.left = asyncio.Event()
        self._answer = answer

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
                await reader.readexactly(int(length[1]) if length else 0)
                self.requests.append(head)
                if self._answer:
                    writer.write(self._answer)
                else:
                    writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.left.set()
            writer.close()


@asynccontextmanager
async def behind_nginx(*answers: bytes | None) -> AsyncIterator[tuple[Nginx, list[Stand], Client]]:
    """Put stands behind nginx; None is one whose port nobody listens on."""
    stands = [Stand(answer) for answer in answers if answer is not None]
    servers = [await asyncio.start_server(stand, LOOPBACK, 0) for stand in stands]
    ports = iter(server.sockets[0].getsockname()[1] for server in servers)
    nginx = Nginx([free_port() if answer is None else next(ports) for answer in answers])
    await asyncio.to_thread(nginx.start)
    try:
        async with Client(nginx.port) as client:
            yield nginx, stands, client
    finally:
        await asyncio.to_thread(nginx.stop)
        for server in servers:
            server.close()
            await server.wait_closed()


async def test_requests_go_to_the_nodes_in_turn_whoever_sends_them() -> None:
    async with behind_nginx(OK, OK, OK) as (nginx, stands, client):
        host = f"localhost:{nginx.port}"
        own = (("Host", host), ("Mcp-Session-Id", "the-same"), ("Cookie", "a=b"), ("Last-Event-ID", "a-1"))
        for _ in range(9):
            assert await (await client.send(Request(headers=own, body=b"{}"))).read() == b"ok"
        assert [len(stand.requests) for stand in stands] == [3, 3, 3]
        turns = await asyncio.to_thread(nginx.await_turns, 9)
        assert turns == [f"{LOOPBACK}:{port}" for port in nginx.ports] * 3
        head = stands[0].requests[0]
        assert f"\r\nHost: {host}\r\n" in head
        assert "\r\nLast-Event-ID: a-1\r\n" in head
        assert not re.search(r"(?i)^connection: close", head, re.M)


@pytest.mark.parametrize(
    ("nodes", "request_", "statuses", "asked"),
    [
        ((GONE, OK), POST, [200] * 4, [4]),
        ((DIES, OK), POST, [502], [1, 0]),
        ((DIES, OK), GET, [200], [1, 1]),
        ((BUSY, OK), GET, [200] * 4, None),
        ((BUSY, BUSY), GET, [503] * 6, None),
        ((BUSY, BUSY), POST, [503] * 6, None),
    ],
    ids=[
        "POST-past-a-dead-node",
        "no-POST-again",
        "GET-again",
        "GET-past-a-stopping-node",
        "all-busy",
        "all-busy-POST",
    ],
)
async def test_dead_stopping_and_dying_nodes(
    nodes: Sequence[bytes | None], request_: Request, statuses: list[int], asked: list[int] | None
) -> None:
    async with behind_nginx(*nodes) as (_, stands, client):
        answers = [await client.send(request_) for _ in statuses]
        assert [answer.status for answer in answers] == statuses
        assert all(answer.headers["retry-after"] == "2" for answer in answers if answer.status == 503)
        assert asked is None or [len(stand.requests) for stand in stands] == asked


def test_buffering_is_off(tmp_path: Path) -> None:
    # To send events in lock-step would not show it: nginx flushes its buffers, too, when a node pauses.
    assert re.search(r"^\s*proxy_buffering off;", Nginx([1], folder=tmp_path).configuration(), re.M)


async def test_client_that_leaves_is_noticed_by_the_node() -> None:
    async with behind_nginx(STREAM + b"a\r\ndata: {}\n\n\r\n") as (_, [stand], client):
        answer = await client.send(POST)
        assert await answer.next_event() is not None
        answer.cut()
        async with asyncio.timeout(60):
            await stand.left.wait()
