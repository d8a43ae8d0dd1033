"""The endpoint as a raw ASGI application: no middleware, no per-request thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from math import inf
from typing import Any, Final

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import ClientDisconnected
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import MAX_HTTP_METHOD, HTTPRequest, Reply, StreamReply

__all__ = ["Receive", "Scope", "Send", "serve"]

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


# Seconds before anybody looks whether the client leaves: most answers are out by then.
_AT_ONCE: Final = 0.05


async def serve(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request; its client's leaving cancels what waits for it."""
    headers = Headers.from_asgi(scope["headers"])
    request = HTTPRequest(
        method=scope["method"][:MAX_HTTP_METHOD],
        headers=headers,
        path=scope["path"],
        peer=endpoint.proxies.client((scope.get("client") or ("",))[0], headers),
        user=scope.get("user"),
        scheme=scope.get("scheme", ""),
        http_version=scope.get("http_version", ""),
    )
    policy = endpoint.policy
    watch = _Watch(receive, policy.body_timeout, policy.write_timeout)
    if request.method != "POST":
        watch.body_is_read.set()  # nobody reads the empty one
    try:
        reply = await endpoint.handle(request, watch.body())
        await _send(watch, reply, send)
    except ClientDisconnected:
        return
    except asyncio.CancelledError:
        if not watch.left and not watch.is_late:
            raise  # the server stops
        watch.work.uncancel()
        if watch.is_late:
            # Left unfinished, so that the server closes the connection; the stream can be resumed.
            logger.info("a client takes nothing any more; its connection is given up")
    finally:
        watch.cancel()


class _Watch:
    """Cancels the task that makes it, and serves a request, when the client leaves or keeps it waiting too long.

    One timer for all of that, since most requests are over before it goes off.
    """

    def __init__(self, receive: Receive, body_timeout: float, write_timeout: float) -> None:
        self._receive = receive
        self._body_timeout, self._write_timeout = body_timeout, write_timeout
        self._loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "ASGI applications run in tasks"  # noqa: S101
        self.work = task
        self.body_is_read = asyncio.Event()
        """Set when the next message can only say that the client left."""
        self.left = self.is_late = False
        self._deadline = inf
        self._leaving: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(_AT_ONCE, self._begin)

    def _begin(self) -> None:
        self._leaving = asyncio.ensure_future(self._await_leaving())
        self._look()

    async def _await_leaving(self) -> None:
        await self.body_is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self.work.cancel()

    def _look(self) -> None:
        # A deadline that is set after this look is later than the next one.
        left = min(self._deadline - self._loop.time(), self._body_timeout, self._write_timeout)
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self.is_late = True
            self.work.cancel()

    def cancel(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        if self._leaving is not None:
            self._leaving.cancel()

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body, chunk by chunk. Raises: ClientDisconnected; TimeoutError when it stops coming."""
        self._deadline = self._loop.time() + self._body_timeout
        more = True
        while more:
            try:
                message = await self._receive()
            except asyncio.CancelledError:
                if not self.is_late:
                    raise
                self.work.uncancel()
                self.is_late, self._deadline = False, inf
                self._look()  # there is an answer to be written yet
                raise TimeoutError from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            more = message.get("more_body", False)
            if not more:
                self._deadline = inf
                self.body_is_read.set()
            yield message.get("body", b"")

    async def write(self, send: Send, *messages: MutableMapping[str, Any]) -> None:
        """Send messages, which the client has to take in time."""
        self._deadline = self._loop.time() + self._write_timeout
        for message in messages:
            await send(message)
        self._deadline = inf


async def _send(watch: _Watch, reply: Reply | StreamReply, send: Send) -> None:
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


@lru_cache(maxsize=64)  # there are not many; values may be a client's own words
def _encode_name(name: str) -> bytes:
    return name.lower().encode("latin-1")
