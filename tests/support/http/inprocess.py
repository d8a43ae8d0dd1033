"""Carriers without a socket: an ASGI application called directly, and Django's test client for WSGI."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.test import Client

from tests.support.http.answer import PATIENCE, Answer
from tests.support.http.carrier import Carrier
from tests.support.http.request import Request

Message = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


def scope_of(request: Request, **changes: Any) -> dict[str, Any]:
    """Build the ASGI scope of a request, blanks around header values and all."""
    path, _, query = request.path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _lines(request)],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        **changes,
    }


def _lines(request: Request) -> list[tuple[str, str]]:
    framing = ("Transfer-Encoding", "chunked") if request.chunks else ("Content-Length", str(len(request.body)))
    return [*request.headers, framing]


class Visit(Answer):
    """One call of an ASGI application, seen from the server's side."""

    def __init__(self, application: Application, scope: Message, body: tuple[bytes, ...] = (b"",)) -> None:
        super().__init__()
        self._is_head = scope.get("method") == "HEAD"
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        for at, chunk in enumerate(body, 1):
            self.receives({"type": "http.request", "body": chunk, "more_body": at < len(body)})
        self.stuck_at: int | None = None
        """Which message, counted from 0, the client never accepts."""
        self.sent = 0
        self.task = asyncio.ensure_future(application(scope, self._inbox.get, self._send))

    def receives(self, message: Message) -> None:
        """Let the application receive a message."""
        self._inbox.put_nowait(message)

    async def _send(self, message: Message) -> None:
        self.sent += 1
        if self.stuck_at is not None and self.sent > self.stuck_at:
            await asyncio.Event().wait()
        self._outbox.put_nowait(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.receives({"type": "http.disconnect"})  # as servers do

    async def _sent(self) -> Message | None:
        """Return the next message the application sends, None when it ends instead."""
        waiting = asyncio.ensure_future(self._outbox.get())
        try:
            await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
            return await waiting if waiting.done() or not self._outbox.empty() else None
        finally:
            waiting.cancel()

    async def read_head(self) -> None:
        async with asyncio.timeout(PATIENCE):
            start = await self._sent()
        assert start is not None, "the application ended without an answer"
        assert start["type"] == "http.response.start"
        self.status = start["status"]
        self.lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]

    async def _piece(self) -> bytes:
        while not self.over:
            message = await self._sent()
            if message is None:
                self.over = True
                break
            self.over = not message.get("more_body", False)
            if (piece := bytes(message.get("body", b""))) and not self._is_head:  # servers drop it
                return piece
        return b""

    async def close(self) -> None:
        self.receives({"type": "http.disconnect"})

    async def end(self) -> None:
        """Leave and wait until the application has ended, as it must then."""
        await self.close()
        async with asyncio.timeout(PATIENCE):
            await self.task


class Direct(Carrier):
    """Calls an ASGI application."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._visits: list[Visit] = []

    async def send(self, request: Request) -> Answer:
        visit = Visit(self._application, scope_of(request), request.chunks or (request.body,))
        self._visits.append(visit)
        try:
            await visit.read_head()
        except asyncio.CancelledError:
            await visit.close()
            raise
        return visit

    async def close(self) -> None:
        for visit in self._visits:
            await visit.end()


class Whole(Answer):
    """An answer of Django's test client."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.status = response.status_code
        self.lines = [(name, value) for name, value in response.items()]
        self._rest = b"".join(response) if response.streaming else response.content

    async def _piece(self) -> bytes:
        piece, self._rest = self._rest, b""
        return bytes(piece)

    async def close(self) -> None:
        """Do nothing: the answer is here already."""


class Synchronous(Carrier):
    """Calls the project through Django's WSGI test client, each request in a thread as WSGI servers do."""

    THREADS = "wsgi-client"

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(12, thread_name_prefix=self.THREADS)

    async def send(self, request: Request) -> Answer:
        headers: dict[str, str] = {}
        for name, value in ((name.lower(), value) for name, value in request.headers):
            headers[name] = f"{headers[name]},{value}" if name in headers else value  # as WSGI servers do
        client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        send = functools.partial(
            client.generic, request.method, request.path, b"".join(request.chunks) or request.body, headers=headers
        )
        return Whole(await asyncio.get_running_loop().run_in_executor(self._threads, send))

    async def close(self) -> None:
        self._threads.shutdown()
