"""Backpressure under daphne, whose `send` returns at once and keeps in memory what its client does not read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

__all__ = ["BUFFER_BYTES", "ResponseSocket", "response_socket"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BUFFER_BYTES: Final = 65536
"""With more bytes, Twisted's buffer of a socket is full."""


def response_socket(send: Send) -> ResponseSocket | None:
    """Return the socket behind daphne's `send`; None under another server, or if an application wraps `send`."""
    protocol = sys.modules.get("daphne.http_protocol")
    if protocol is None or not isinstance(send, partial) or len(send.args) != 1:
        return None
    [request] = send.args
    return ResponseSocket(send, request) if isinstance(request, protocol.WebRequest) and request.channel else None


class ResponseSocket:
    """Sends the messages of one response, and waits after each until Twisted's buffer (64 KiB) has room.

    A push producer of Twisted, which pauses it while the buffer is full and resumes it when the buffer is empty.
    """

    def __init__(self, send: Send, request: Any) -> None:
        self._send, self._request = send, request
        self._has_room = asyncio.Event()
        self._has_room.set()
        request.registerProducer(self, True)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a message of the response, and wait until there is room for another one."""
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and len(message.get("body", b"")) > BUFFER_BYTES:
            await self._send({**message, "more_body": True})
            await self._has_room.wait()  # a client that does not read a large body is not left with it for good
            message = {**message, "body": b""}
        if is_last:
            self.close()  # as Twisted requires before the end of a response
        await self._send(message)
        await self._has_room.wait()

    def close(self) -> None:
        """Stop to wait for the buffer."""
        if self._request.producer is self and self._request.channel is not None:  # None once the connection is lost
            self._request.unregisterProducer()
        self._has_room.set()

    def abort(self) -> None:
        """Close the connection without sending what its buffer holds: daphne leaves an incomplete response open."""
        if self._request.channel is not None:
            self._request.transport.abortConnection()

    # The names of the following are Twisted's.

    def pauseProducing(self) -> None:
        """Note that the buffer is full."""
        self._has_room.clear()

    def resumeProducing(self) -> None:
        """Note that the buffer is empty."""
        self._has_room.set()

    def stopProducing(self) -> None:
        """Note that the connection is lost."""
        self._has_room.set()
