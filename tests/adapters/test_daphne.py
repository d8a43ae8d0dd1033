"""The mount under daphne: it waits for Twisted's buffer, and closes what is not read in time.

Whole nodes, with clients that do not read, are in tests/cluster/test_stopped_readers.py.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from daphne.http_protocol import WebRequest

from mcp_transport.adapters.daphne import BUFFER_BYTES, ResponseSocket, response_socket
from tests.support.clock import settle

START = {"type": "http.response.start", "status": 200, "headers": []}


class Request(WebRequest):  # type: ignore[misc]
    """A request of daphne's with no connection: it records what it is told."""

    def __init__(self) -> None:
        self.channel: Any = self
        self.transport: Any = self
        self.producer: Any = None
        self.written: list[tuple[int, bool]] = []
        self.aborted = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def abortConnection(self) -> None:
        self.aborted += 1


async def handle_reply(request: Request, message: Any) -> None:
    """Write as daphne does; with the end of the response, no producer may be left."""
    if message["type"] == "http.response.body":
        is_last = not message.get("more_body", False)
        assert not (is_last and request.producer)
        request.written.append((len(message["body"]), is_last))


def socket_of(request: Request) -> ResponseSocket:
    socket = response_socket(partial(handle_reply, request))
    assert socket is not None
    return socket


async def test_next_piece_waits_until_the_buffer_is_empty() -> None:
    socket = socket_of(request := Request())
    await socket.send(START)
    await socket.send({"type": "http.response.body", "body": b"one", "more_body": True})
    request.producer.pauseProducing()
    sending = asyncio.ensure_future(socket.send({"type": "http.response.body", "body": b"two", "more_body": True}))
    await settle()
    assert not sending.done()
    request.producer.resumeProducing()
    await sending
    await socket.send({"type": "http.response.body", "body": b""})
    assert (request.written, request.producer) == ([(3, False), (3, False), (0, True)], None)


async def test_a_large_body_is_over_only_when_it_was_read() -> None:
    socket = socket_of(request := Request())
    await socket.send(START)
    request.producer.pauseProducing()
    size = BUFFER_BYTES + 1
    sending = asyncio.ensure_future(socket.send({"type": "http.response.body", "body": b"x" * size}))
    await settle()
    assert (sending.done(), request.written) == (False, [(size, False)])
    request.producer.resumeProducing()
    await sending
    assert request.written == [(size, False), (0, True)]


async def test_a_lost_connection_is_neither_waited_for_nor_touched() -> None:
    socket = socket_of(request := Request())
    request.producer.pauseProducing()
    request.producer.stopProducing()
    request.channel = None
    await socket.send(START)
    socket.close()
    socket.abort()
    assert request.aborted == 0
    assert response_socket(partial(handle_reply, request)) is None


async def test_an_abort_closes_the_connection() -> None:
    socket_of(request := Request()).abort()
    assert request.aborted == 1


async def test_other_servers_and_wrapped_functions_are_left_alone() -> None:
    async def send(message: Any) -> None: ...

    assert response_socket(send) is None
    assert response_socket(partial(send)) is None
    assert response_socket(partial(handle_reply, object())) is None  # type: ignore[arg-type]
