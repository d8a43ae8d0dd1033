"""HTTP requests to an authorization server, bounded in time, size and number, and merged when they are equal."""

from __future__ import annotations

import asyncio
import ssl
import threading
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

import httpx2
import orjson
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.exceptions import MCPTransportError

__all__ = ["Pool", "PoolExhausted", "SingleFlight", "UpstreamError", "checked_url", "request_json"]

TIMEOUT_SECONDS: Final = 5.0
POOL_WAIT_SECONDS: Final = 2.0
"""How long a request waits for a free connection of the pool."""
MAX_BYTES: Final = 512 * 1024

# Servers close idle connections after 2 s (gunicorn) or more; a request must not use one that is being closed.
_KEEP_ALIVE_SECONDS: Final = 1.0

_ONE_CONNECTION: Final = httpx2.Limits(max_connections=1)

_T = TypeVar("_T")


class UpstreamError(MCPTransportError):
    """The authorization server did not respond, or not as expected; `status` is its HTTP status, or 0."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class PoolExhausted(UpstreamError):
    """No connection of the pool became free in time."""


class SingleFlight(Generic[_T]):
    """Runs equal work once at a time on each event loop, and shares its result among all callers that wait for it."""

    def __init__(self) -> None:
        self._tasks: WeakKeyDictionary[AbstractEventLoop, dict[Hashable, asyncio.Task[_T]]] = WeakKeyDictionary()
        self._lock = threading.Lock()  # loops may run in several threads

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return the result of the work with this key, starting it unless it is running."""
        with self._lock:
            tasks = self._tasks.setdefault(asyncio.get_running_loop(), {})
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = asyncio.create_task(work())
            task.add_done_callback(lambda _: tasks.pop(key, None))
        # The caller that started the work may be cancelled while others wait for it.
        return await asyncio.shield(task)


@dataclass(slots=True)
class _Connections:
    """The connections of a pool on one event loop."""

    client: httpx2.AsyncClient
    preferred: asyncio.Semaphore
    others: asyncio.Semaphore
    closing: AsyncGenerator[None]


class Pool:
    """A small pool of short-lived connections to one server; each event loop has its own."""

    def __init__(self, size: int) -> None:
        """Set the number of connections, at least 2; the first request opens them.

        Raises:
            ImproperlyConfigured: `size` is below 2.
        """
        if size < 2:
            raise ImproperlyConfigured(f"MAX_QUESTIONS must be 2 or more, got {size}")
        self._size, self._reserved = size, max(1, size // 4)
        self._by_loop: dict[AbstractEventLoop, _Connections] = {}

    async def request_json(
        self, method: str, url: str, *, preferred: bool, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> dict[str, Any]:
        """Send a request with `request_json` on a connection of the pool; a quarter is reserved for `preferred` ones.

        Raises:
            PoolExhausted: no connection became free in time.
            UpstreamError: as `request_json`.
        """
        connections = self._by_loop.get(asyncio.get_running_loop()) or await self._open()
        free = connections.preferred if preferred else connections.others
        try:
            async with asyncio.timeout(POOL_WAIT_SECONDS):
                await free.acquire()
        except TimeoutError:
            raise PoolExhausted("MAX_QUESTIONS requests are in flight already") from None
        try:
            return await request_json(method, url, headers=headers, form=form, client=connections.client)
        finally:
            free.release()

    async def _open(self) -> _Connections:
        for loop in list(self._by_loop):
            if loop.is_closed():
                self._by_loop.pop(loop, None)
        loop = asyncio.get_running_loop()
        client = _client(httpx2.Limits(max_connections=self._size, keepalive_expiry=_KEEP_ALIVE_SECONDS))
        preferred, others = asyncio.Semaphore(self._reserved), asyncio.Semaphore(self._size - self._reserved)
        connections = self._by_loop[loop] = _Connections(client, preferred, others, self._close_with(loop, client))
        await anext(connections.closing)
        return connections

    async def _close_with(self, loop: AbstractEventLoop, client: httpx2.AsyncClient) -> AsyncGenerator[None]:
        """Close the connections with their loop: `loop.shutdown_asyncgens()` ends this generator."""
        try:
            yield
        finally:
            self._by_loop.pop(loop, None)
            await client.aclose()


async def request_json(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    client: httpx2.AsyncClient | None = None,
) -> dict[str, Any]:
    """Return the JSON object of a response; redirects are not followed.

    Without a `client` the connection is closed after the response.

    Raises:
        UpstreamError: the server is unreachable or too slow, or the response is not a JSON object with status 200.
    """
    try:
        # A limit for the whole exchange: the timeouts of httpx2 restart with each byte.
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            nullcontext(client) if client is not None else _client() as http,
            http.stream(method, url, headers=headers, data=form) as response,
        ):
            if response.status_code != 200:
                raise UpstreamError(f"HTTP {response.status_code}", response.status_code)
            body = await _read(response)
    except TimeoutError:
        raise UpstreamError(f"no answer within {TIMEOUT_SECONDS:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise UpstreamError(f"{type(error).__name__}: {error}") from None
    try:
        document = orjson.loads(body)
    except ValueError:
        raise UpstreamError("the response is not JSON") from None
    if not isinstance(document, dict):
        raise UpstreamError("the response is not a JSON object")
    return document


def _client(limits: httpx2.Limits = _ONE_CONNECTION) -> httpx2.AsyncClient:
    """Build a client without cookies, so that requests stay independent of each other."""
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx2.AsyncClient(verify=_ssl_context(), timeout=None, limits=limits, cookies=cookies)


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BYTES:
                raise UpstreamError(f"the response is longer than {MAX_BYTES} bytes")
    return bytes(body)


@cache  # reading the certificates takes many milliseconds
def _ssl_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def checked_url(option: str, url: str) -> str:
    """Return a URL of an authorization server if it is safe to use.

    Raises:
        ImproperlyConfigured: the URL is neither https nor http on this machine, so its responses could be forged.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise ImproperlyConfigured(f"{option} must be a URL: {error}") from None
    if parsed.host and (parsed.scheme == "https" or (parsed.scheme == "http" and _is_loopback(parsed.host))):
        return url
    raise ImproperlyConfigured(f"{option} must be an https URL; http is allowed on this machine only")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3
