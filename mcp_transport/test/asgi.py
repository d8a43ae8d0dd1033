"""Runs an ASGI application in place of the handler of Django's test client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.test.client import AsyncClientHandler

__all__ = ["ApplicationHandler"]


class ApplicationHandler(AsyncClientHandler):
    """Sends requests to an ASGI application, and returns its response."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        super().__init__()
        self._application = application

    def __deepcopy__(self, memo: dict[int, Any]) -> ApplicationHandler:
        return ApplicationHandler(self._application)

    async def __call__(self, scope: dict[str, Any]) -> Any:
        file = scope.pop("_body_file", None)
        request = _ASGIRequest(file.read() if file is not None else b"")
        path = scope["path"].encode()
        scope = {"root_path": "", "query_string": b"", "raw_path": path, **scope}
        request.task = asyncio.ensure_future(self._application(scope, request.receive, request.send))
        start = await request.next_message()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
        is_stream = any(value.startswith("text/event-stream") for _, value in headers)
        response: Any
        if is_stream:
            response = StreamingHttpResponse(request, status=start["status"])
        else:
            response = HttpResponse(b"".join([piece async for piece in request]), status=start["status"])
        del response["Content-Type"]
        for name, value in headers:
            response[name] = value
        response.asgi_request = None  # the test client looks for a urlconf in it
        return response


class _ASGIRequest:
    """One request, with the queues between client and application."""

    def __init__(self, body: bytes) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receive, self.send = self._inbox.get, self._outbox.put
        self.task: asyncio.Future[None]

    async def next_message(self) -> dict[str, Any]:
        """Return the application's next message. Raises: its exception, or AssertionError if it returns."""
        message_task = asyncio.ensure_future(self._outbox.get())
        tasks: list[asyncio.Future[Any]] = [message_task, self.task]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if message_task.done():
            return message_task.result()
        message_task.cancel()
        await self.task
        if not self._outbox.empty():
            return self._outbox.get_nowait()
        raise AssertionError("the ASGI application returned without a response")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body in chunks, then wait until the application has returned."""
        has_more = True
        while has_more:
            message = await self.next_message()
            has_more = message.get("more_body", False)
            yield message.get("body", b"")
        self.close()
        await self.task

    def close(self) -> None:
        """Disconnect."""
        self._inbox.put_nowait({"type": "http.disconnect"})
