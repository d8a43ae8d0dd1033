"""The endpoint as a raw ASGI application: no middleware, no per-request thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from math import inf
from typing import Any, Final

from mcp_transport.adapters.daphne import BUFFER_BYTES, response_socket
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import ClientDisconnected
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import MAX_HTTP_METHOD, HTTPRequest, Reply, StreamReply

__all__ = ["Receive", "Scope", "Send", "serve"]

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


# Before the watch for a disconnect starts: most responses are sent by then.
_WATCH_DELAY_SECONDS: Final = 0.05


async def serve(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request; a disconnect of the client cancels the wait for the response."""
    headers = Headers.from_asgi(scope["headers"])
    request = HTTPRequest(
        method=scope["method"][:MAX_HTTP_METHOD],
        headers=headers,
        path=scope["path"],
        peer=endpoint.client_address((scope.get("client") or ("",))[0], headers),
        user=scope.get("user"),
        scheme=scope.get("scheme", ""),
        http_version=scope.get("http_version", ""),
    )
    policy = endpoint.policy
    watch = _Watch(receive, policy.body_timeout, policy.write_timeout)
    if request.method != "POST":
        watch.body_is_read.set()  # the body is empty and never read
    try:
        reply = await endpoint.handle(request, watch.body())
        await _send(watch, reply, send)
    except ClientDisconnected:
        return
    except asyncio.CancelledError:
        if not watch.has_disconnected and not watch.has_timed_out:
            raise  # the server stops
        watch.work.uncancel()
        if watch.has_timed_out:
            # The response stays incomplete, so the server closes the connection; the client can resume the stream.
            logger.info("a client does not accept data in time; its connection is closed")
    finally:
        watch.cancel()


class _Watch:
    """Cancels the task of a request when the client disconnects, or is too slow to send or receive.

    One timer serves all of these, since most requests end before it fires.
    """

    def __init__(self, receive: Receive, body_timeout: float, write_timeout: float) -> None:
        self._receive = receive
        self._body_timeout, self._write_timeout = body_timeout, write_timeout
        self._loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "ASGI applications run in tasks"  # noqa: S101
        self.work = task
        self.body_is_read = asyncio.Event()
        """Set when the next message can only be a disconnect."""
        self.has_disconnected = self.has_timed_out = False
        self._deadline = inf
        self._disconnect_task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(_WATCH_DELAY_SECONDS, self._begin)

    def _begin(self) -> None:
        self._disconnect_task = asyncio.ensure_future(self._await_disconnect())
        self._check_deadline()

    async def _await_disconnect(self) -> None:
        await self.body_is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_disconnected = True
        self.work.cancel()

    def _check_deadline(self) -> None:
        # A deadline that is set after this check is later than the next check.
        remaining = min(self._deadline - self._loop.time(), self._body_timeout, self._write_timeout)
        if remaining > 0:
            self._timer = self._loop.call_later(remaining, self._check_deadline)
        else:
            self.has_timed_out = True
            self.work.cancel()

    def cancel(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._disconnect_task is not None:
            self._disconnect_task.cancel()

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body in chunks. Raises: ClientDisconnected; TimeoutError if the body does not arrive in time."""
        self._deadline = self._loop.time() + self._body_timeout
        more = True
        while more:
            try:
                message = await self._receive()
            except asyncio.CancelledError:
                if not self.has_timed_out:
                    raise
                self.work.uncancel()
                self.has_timed_out, self._deadline = False, inf
                self._check_deadline()  # the response is yet to be sent
                raise TimeoutError from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            more = message.get("more_body", False)
            if not more:
                self._deadline = inf
                self.body_is_read.set()
            yield message.get("body", b"")

    async def write(self, send: Send, *messages: MutableMapping[str, Any]) -> None:
        """Send messages, each of which the client must accept in time."""
        self._deadline = self._loop.time() + self._write_timeout
        for message in messages:
            await send(message)
        self._deadline = inf


async def _send(watch: _Watch, reply: Reply | StreamReply, send: Send) -> None:
    is_small = isinstance(reply, Reply) and len(reply.body) <= BUFFER_BYTES
    socket = None if is_small else response_socket(send)
    if socket is None:
        await _send_messages(watch, reply, send)
        return
    try:
        await _send_messages(watch, reply, socket.send)
    except asyncio.CancelledError:
        if watch.has_timed_out:
            socket.abort()
        raise
    finally:
        socket.close()


async def _send_messages(watch: _Watch, reply: Reply | StreamReply, send: Send) -> None:
    start = {"type": "http.response.start", "status": reply.status, "headers": _encode(reply.headers)}
    if isinstance(reply, Reply):
        await watch.write(send, start, {"type": "http.response.body", "body": reply.body})
        return
    try:
        await watch.write(send, start)
        async for frame in reply.frames:
            await watch.write(send, {"type": "http.response.body", "body": frame, "more_body": True})
        await watch.write(send, {"type": "http.response.body", "body": b""})
    finally:
        reply.frames.close()


def _encode(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(_encode_name(name), value.encode("latin-1")) for name, value in headers]


@lru_cache(maxsize=64)  # only names: there are few, and values may come from clients
def _encode_name(name: str) -> bytes:
    return name.lower().encode("latin-1")
