"""The endpoint as a raw ASGI application: no middleware, no per-request thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import ClientGone
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply

__all__ = ["Receive", "Scope", "Send", "serve"]

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


# Seconds before anybody looks whether the client leaves: most answers are out by then.
_AT_ONCE: Final = 0.05


async def serve(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request; its client's leaving cancels what waits for it."""
    body = _Body(receive)
    request = HTTPRequest(
        method=scope["method"],
        headers=Headers.from_asgi(scope["headers"]),
        path=scope["path"],
        peer=(scope.get("client") or ("",))[0],
        user=scope.get("user"),
        http_version=scope.get("http_version", ""),
    )
    if request.method != "POST":
        body.read.set()  # nobody reads the empty one
    leaving = _Leaving(body, receive)
    try:
        reply = await endpoint.handle(request, body)
        await _send(endpoint, reply, send)
    except ClientGone:
        return
    except asyncio.CancelledError:
        if not leaving.seen:
            raise  # the server stops
        leaving.work.uncancel()
    finally:
        leaving.cancel()


class _Body:
    """The request's body, chunk by chunk."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.read = asyncio.Event()
        """Set when the next message can only say that the client left."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            if not more:
                self.read.set()
            yield message.get("body", b"")


class _Leaving:
    """Watches for the client to leave, and then cancels the work for it: the task that makes one of these."""

    def __init__(self, body: _Body, receive: Receive) -> None:
        self._body, self._receive = body, receive
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "ASGI applications run in tasks"  # noqa: S101
        self.work = task
        self.seen = False
        self._watch: asyncio.Task[None] | None = None
        self._begin = loop.call_later(_AT_ONCE, self._start)

    def _start(self) -> None:
        self._watch = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        await self._body.read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.seen = True
        self.work.cancel()

    def cancel(self) -> None:
        """Watch no longer."""
        self._begin.cancel()
        if self._watch is not None:
            self._watch.cancel()


async def _send(endpoint: Endpoint, reply: Reply | StreamReply, send: Send) -> None:
    async def put(*messages: MutableMapping[str, Any]) -> None:
        async with asyncio.timeout(endpoint.policy.write_timeout):
            for message in messages:
                await send(message)

    start = {"type": "http.response.start", "status": reply.status, "headers": _encode(reply.headers)}
    if isinstance(reply, Reply):
        await put(start, {"type": "http.response.body", "body": reply.body})
        return
    try:
        await put(start)
        async for frame in reply.frames:
            await put({"type": "http.response.body", "body": frame, "more_body": True})
        await put({"type": "http.response.body", "body": b""})
    except TimeoutError:
        # Left unfinished, so that the server closes the connection; the stream can be resumed.
        logger.info("a client takes nothing any more; its connection is given up")
        raise ClientGone from None
    finally:
        reply.frames.close()


def _encode(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
