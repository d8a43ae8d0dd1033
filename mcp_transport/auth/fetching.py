"""Questions to an authorization server: asked safely, bounded in time and size, and each one once at a time."""

from __future__ import annotations

import asyncio
import ssl
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Hashable, Mapping
from contextlib import aclosing
from functools import cache
from ipaddress import ip_address
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

import httpx2
import orjson
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth import authenticator
from mcp_transport.exceptions import MCPTransportError, ProtocolError

__all__ = ["NoAnswer", "Shared", "ask", "checked_url", "unavailable"]

TIMEOUT_SECONDS: Final = 5.0
MAX_BYTES: Final = 512 * 1024

_T = TypeVar("_T")


class NoAnswer(MCPTransportError):
    """An authorization server that did not answer, or not as it must; `status` is its HTTP status, 0 without one."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class Shared(Generic[_T]):
    """Work whose result several requests wait for together; on each event loop it is done once at a time."""

    def __init__(self) -> None:
        self._under_way: WeakKeyDictionary[AbstractEventLoop, dict[Hashable, asyncio.Task[_T]]] = WeakKeyDictionary()
        self._lock = threading.Lock()  # loops may run in several threads

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Wait for the work of that key, which this begins unless it is under way."""
        with self._lock:
            tasks = self._under_way.setdefault(asyncio.get_running_loop(), {})
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = asyncio.create_task(work())
            task.add_done_callback(lambda _: tasks.pop(key, None))
        # The request that began it may be cancelled; the others wait on.
        return await asyncio.shield(task)


async def ask(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the JSON object that a server answers with; redirects are not followed.

    Raises:
        NoAnswer: it cannot be reached, is too slow, or answers with anything else.
    """
    try:
        # The whole exchange has a limit; those of httpx2 begin anew with each byte.
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            httpx2.AsyncClient(verify=_trusted(), timeout=None) as client,
            client.stream(method, url, headers=headers, data=form) as response,
        ):
            if response.status_code != 200:
                raise NoAnswer(f"HTTP {response.status_code}", response.status_code)
            body = await _read(response)
    except TimeoutError:
        raise NoAnswer(f"no answer within {TIMEOUT_SECONDS:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise NoAnswer(f"{type(error).__name__}: {error}") from None
    try:
        document = orjson.loads(body)
    except ValueError:
        raise NoAnswer("its answer is no JSON") from None
    if not isinstance(document, dict):
        raise NoAnswer("its answer is no JSON object")
    return document


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BYTES:
                raise NoAnswer(f"its answer is longer than {MAX_BYTES} bytes")
    return bytes(body)


@cache  # to read the certificates takes many milliseconds
def _trusted() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def checked_url(option: str, url: str) -> str:
    """Return a URL at which an authorization server may be asked.

    Raises:
        ImproperlyConfigured: it is neither https nor http of this machine, so that others could answer.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise ImproperlyConfigured(f"{option} is no URL: {error}") from None
    if parsed.host and (parsed.scheme == "https" or (parsed.scheme == "http" and _is_loopback(parsed.host))):
        return url
    raise ImproperlyConfigured(f"{option} must be an https URL; http is allowed for this machine alone")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3


def unavailable() -> ProtocolError:
    """Build the answer to credentials that nobody can be asked about now."""
    return authenticator.unavailable("the authorization server does not answer")
