"""HTTP without a socket: Django's test client, before the URLconf or before the project's ASGI application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from asgiref.sync import AsyncToSync
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test.client import AsyncClient, AsyncClientHandler
from django.urls import NoReverseMatch, Resolver404, ResolverMatch, resolve, reverse
from django.utils.module_loading import import_string

from mcp_transport.test.asgi import ApplicationHandler
from mcp_transport.test.login import check_login, log_in
from mcp_transport.test.thread import WhileItLasts

__all__ = ["HTTP", "Answer"]

# The path where `mcp_transport.asgi.mount` answers unless told otherwise.
_MOUNTED: Final = "/mcp"


class Answer:
    """One HTTP response, whose messages are read as they come."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers = {name.lower(): value for name, value in response.items()}
        self._is_over = not response.streaming

    async def messages(self) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
        """Yield each event's id and its JSON-RPC message, if it has any.

        Raises: AssertionError when this is no answer of MCP.
        """
        kind = self.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            async for event in _events(self._response):
                yield event
            self._is_over = True
        elif self.content and kind.startswith("application/json") and _is_message(parsed := json.loads(self.content)):
            yield "", parsed
        elif self.content or self.status >= 300:
            raise AssertionError(self._no_answer())

    @property
    def content(self) -> bytes:
        """The body of a response that is no stream."""
        return b"" if self._response.streaming else bytes(self._response.content)

    def close(self) -> None:
        """Leave, if there is more to come."""
        if not self._is_over:
            self._response.close()

    def _no_answer(self) -> str:
        where = f" to {self.headers['location']}" if "location" in self.headers else ""
        begin = self.content[:500].decode(errors="replace")
        return (
            f"HTTP {self.status}{where} is no answer of MCP: a middleware of the project answered, or the endpoint "
            f"is not at this path, see MCPClient(path=...)\n{begin}"
        )


class HTTP:
    """Requests to one path of the project."""

    def __init__(self, path: str | None, headers: Mapping[str, str], *, raise_request_exception: bool) -> None:
        self.path, application = _endpoint(path)
        self._client = AsyncClient(raise_request_exception=raise_request_exception)
        self._client.handler = _Handler() if application is None else ApplicationHandler(application)
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._has_user = False

    def log_in(self, user: Any) -> None:
        """Log a user in. Raises: ImproperlyConfigured in a project without sessions."""
        self._headers |= log_in(self._client, user)
        self._has_user = True

    @asynccontextmanager
    async def send(self, method: str, headers: Mapping[str, str], message: Any = None) -> AsyncIterator[Answer]:
        """Send a request; the response is closed at the end."""
        response: HttpResponseBase = await self._client.generic(
            method,
            self.path,
            json.dumps(message, cls=DjangoJSONEncoder) if message is not None else "",
            "application/json",
            secure=settings.SECURE_SSL_REDIRECT,  # as behind a proxy that ends TLS
            headers={**headers, **self._headers},
        )
        answer = Answer(response)
        try:
            if self._has_user:
                check_login(getattr(response, "asgi_request", None))
            yield answer
        finally:
            answer.close()


def _endpoint(path: str | None) -> tuple[str, Any]:
    """Return the endpoint's path and, unless the URLconf leads there, the ASGI application that answers it.

    Raises: ImproperlyConfigured when there is neither.
    """
    try:
        if path is None:
            return reverse("mcp_transport:endpoint"), None
        resolve(path)
        return path, None
    except (NoReverseMatch, Resolver404):
        pass
    if not getattr(settings, "ASGI_APPLICATION", None):
        raise ImproperlyConfigured(
            "MCPClient finds no endpoint: the URLconf does not include mcp_transport.urls, and there is no setting "
            'ASGI_APPLICATION, such as "config.asgi.application", that names an application made with '
            "mcp_transport.asgi.mount"
        )
    return path or _MOUNTED, import_string(settings.ASGI_APPLICATION)


class _Handler(AsyncClientHandler):
    """Serves a call of an asynchronous test also after a synchronous middleware has returned its stream."""

    async def __call__(self, scope: dict[str, Any]) -> Any:
        names = [name for name, _ in scope["headers"]]
        if names.count(b"host") > 1:  # the test client's own is the first one
            del scope["headers"][names.index(b"host")]
        return await super().__call__(scope)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Handler:
        return _Handler()  # setUpTestData's attributes are copied for each test, which not all middleware can be

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Come in between the middleware and the view, and look up what is called."""
        if (executor := getattr(AsyncToSync.executors, "current", None)) is not None:
            AsyncToSync.executors.current = WhileItLasts(executor)
        return super().resolve_request(request)


def _is_message(parsed: Any) -> bool:
    return isinstance(parsed, dict) and parsed.get("jsonrpc") == "2.0"


async def _events(response: Any) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
    waiting = b""
    async for piece in response.streaming_content:
        *whole, waiting = (waiting + piece).split(b"\n\n")
        for event in whole:
            fields = dict(_field(line) for line in event.decode().split("\n"))
            if "data" in fields:
                yield fields.get("id", ""), json.loads(fields["data"]) if fields["data"] else None


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")
