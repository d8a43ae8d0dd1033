"""HTTP without sockets: Django's test client, for the URLconf or the project's ASGI application."""

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
from mcp_transport.test.thread import FallbackExecutor

__all__ = ["HTTP", "Response"]

# The default path of `mcp_transport.asgi.mount`.
_DEFAULT_PATH: Final = "/mcp"


class Response:
    """One HTTP response, whose messages are read as they arrive."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers = {name.lower(): value for name, value in response.items()}
        self._is_complete = not response.streaming

    async def messages(self) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
        """Yield each event's id and its JSON-RPC message, if it has any.

        Raises: AssertionError if this is not an MCP response.
        """
        content_type = self.headers.get("content-type", "")
        is_json = content_type.startswith("application/json")
        if content_type.startswith("text/event-stream"):
            async for event in _events(self._response):
                yield event
            self._is_complete = True
        elif self.content and is_json and _is_message(parsed := json.loads(self.content)):
            yield "", parsed
        elif self.content or self.status >= 300:
            raise AssertionError(self._not_mcp())

    @property
    def content(self) -> bytes:
        """The body; empty for a stream."""
        return b"" if self._response.streaming else bytes(self._response.content)

    def close(self) -> None:
        """Disconnect, if the stream has not ended."""
        if not self._is_complete:
            self._response.close()

    def _not_mcp(self) -> str:
        where = f" to {self.headers['location']}" if "location" in self.headers else ""
        excerpt = self.content[:500].decode(errors="replace")
        return (
            f"HTTP {self.status}{where} is not an MCP response: a middleware of the project answered, or the "
            f"endpoint is not at this path, see MCPClient(path=...)\n{excerpt}"
        )


class HTTP:
    """Sends requests to one path of the project."""

    def __init__(self, path: str | None, headers: Mapping[str, str], *, raise_request_exception: bool) -> None:
        self.path, application = _endpoint(path)
        self._client = AsyncClient(raise_request_exception=raise_request_exception)
        self._client.handler = _Handler() if application is None else ApplicationHandler(application)
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._has_user = False

    def log_in(self, user: Any) -> None:
        """Log a user in. Raises: ImproperlyConfigured if the project has no sessions."""
        self._headers |= log_in(self._client, user)
        self._has_user = True

    @asynccontextmanager
    async def send(self, method: str, headers: Mapping[str, str], message: Any = None) -> AsyncIterator[Response]:
        """Send a request; the response is closed at the end of the block."""
        response: HttpResponseBase = await self._client.generic(
            method,
            self.path,
            json.dumps(message, cls=DjangoJSONEncoder) if message is not None else "",
            "application/json",
            secure=settings.SECURE_SSL_REDIRECT,  # as behind a proxy that terminates TLS
            headers={**headers, **self._headers},
        )
        answer = Response(response)
        try:
            if self._has_user:
                check_login(getattr(response, "asgi_request", None))
            yield answer
        finally:
            answer.close()


def _endpoint(path: str | None) -> tuple[str, Any]:
    """Return the endpoint's path, and the ASGI application that serves it unless the URLconf does.

    Raises: ImproperlyConfigured if neither serves it.
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
            "MCPClient finds no endpoint: the URLconf does not include mcp_transport.urls, and the setting "
            'ASGI_APPLICATION, such as "config.asgi.application", does not name an application that uses '
            "mcp_transport.asgi.mount"
        )
    return path or _DEFAULT_PATH, import_string(settings.ASGI_APPLICATION)


class _Handler(AsyncClientHandler):
    """Keeps calls of asynchronous tests running after a synchronous middleware has returned their stream."""

    async def __call__(self, scope: dict[str, Any]) -> Any:
        names = [name for name, _ in scope["headers"]]
        if names.count(b"host") > 1:  # the first one is the test client's own
            del scope["headers"][names.index(b"host")]
        return await super().__call__(scope)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Handler:
        return _Handler()  # setUpTestData's attributes are copied for each test, and some middleware cannot be

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Install the fallback executor between middleware and view, then resolve the URL."""
        if (executor := getattr(AsyncToSync.executors, "current", None)) is not None:
            AsyncToSync.executors.current = FallbackExecutor(executor)
        return super().resolve_request(request)


def _is_message(parsed: Any) -> bool:
    return isinstance(parsed, dict) and parsed.get("jsonrpc") == "2.0"


async def _events(response: Any) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
    buffer = b""
    async for chunk in response.streaming_content:
        *complete, buffer = (buffer + chunk).split(b"\n\n")
        for event in complete:
            fields = dict(_field(line) for line in event.decode().split("\n"))
            if "data" in fields:
                yield fields.get("id", ""), json.loads(fields["data"]) if fields["data"] else None


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")
