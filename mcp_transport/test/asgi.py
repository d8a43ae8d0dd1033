"""An ASGI application in place of the handler of Django's test client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.test.client import AsyncClientHandler

__all__ = ["ApplicationHandler"]


class ApplicationHandler(AsyncClientHandler):
    """Sends requests to an application, and takes its answer for a response."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        super().__init__()
        self._application = application

    def __deepcopy__(self, memo: dict[int, Any]) -> ApplicationHandler:
        return ApplicationHandler(self._application)

    async def __call__(self, scope: dict[str, Any]) -> Any:
        file = scope.pop("_body_file", None)
        visit = _Visit(file.read() if file is not None else b"")
        path = scope["path"].encode()
        scope = {"root_path": "", "query_string": b"", "raw_path": path, **scope}
        visit.task = asyncio.ensure_future(self._application(scope, visit.receive, visit.send))
        start = await visit.sent()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
        is_stream = any(value.startswith("text/event-stream") for _, value in headers)
        response: Any
        if is_stream:
            response = StreamingHttpResponse(visit, status=start["status"])
        else:
            pieces = [piece async for piece in visit]
            response = HttpResponse(b"".join(pieces), status=start["status"])
        del response["Content-Type"]
        for name, value in headers:
            response[name] = value
        response.asgi_request = None  # which the test client looks for a urlconf in
        return response


class _Visit:
    """One request of a client, as the application sees it."""

    def __init__(self, body: bytes) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receive, self.send = self._inbox.get, self._outbox.put
        self.task: asyncio.Future[None]

    async def sent(self) -> dict[str, Any]:
        """Return the next message of the application. Raises: what it raises instead; AssertionError if it ends."""
        waiting = asyncio.ensure_future(self._outbox.get())
        either: list[asyncio.Future[Any]] = [waiting, self.task]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        await self.task
        if not self._outbox.empty():
            return self._outbox.get_nowait()
        raise AssertionError("the ASGI application ended without an answer")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body, piece by piece; wait at its end until the application has ended."""
        more = True
        while more:
            message = await self.sent()
            more = message.get("more_body", False)
            yield message.get("body", b"")
        self.close()
        await self.task

    def close(self) -> None:
        """Leave."""
        self._inbox.put_nowait({"type": "http.disconnect"})
