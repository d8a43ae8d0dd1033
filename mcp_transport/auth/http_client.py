"""Questions to an authorization server: asked safely, bounded in time, size and number, each one once at a time."""

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

from mcp_transport.auth import authenticator
from mcp_transport.exceptions import MCPTransportError, ProtocolError

__all__ = ["Busy", "Pool", "SingleFlight", "UpstreamError", "ask", "checked_url", "unavailable"]

TIMEOUT_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 2.0
"""How long a question waits until one of those before it is answered."""
MAX_BYTES: Final = 512 * 1024

# Servers close idle connections after 2 s (gunicorn) or more; a question must not meet one that is being closed.
_KEEP_ALIVE_SECONDS: Final = 1.0

_ONE: Final = httpx2.Limits(max_connections=1)

_T = TypeVar("_T")


class UpstreamError(MCPTransportError):
    """An authorization server that did not answer, or not as it must; `status` is its HTTP status, 0 without one."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class Busy(UpstreamError):
    """There are as many questions under way as there may be."""


class SingleFlight(Generic[_T]):
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


@dataclass(slots=True)
class _Connections:
    """What a pool has on one event loop."""

    client: httpx2.AsyncClient
    preferred: asyncio.Semaphore
    others: asyncio.Semaphore
    closing: AsyncGenerator[None]


class Pool:
    """Few connections to one server, kept for a moment, and few questions at a time; each event loop has its own."""

    def __init__(self, size: int) -> None:
        """Open nothing yet; `size` is the number of connections, two at least.

        Raises:
            ImproperlyConfigured: the size is smaller.
        """
        if size < 2:
            raise ImproperlyConfigured(f"MAX_QUESTIONS must be 2 or more, got {size}")
        self._size, self._reserved = size, max(1, size // 4)
        self._here: dict[AbstractEventLoop, _Connections] = {}

    async def ask(
        self, method: str, url: str, *, preferred: bool, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the answer as `ask` does, on a connection of the pool; a quarter of them is for preferred questions.

        Raises:
            Busy: the other questions took too long.
            UpstreamError: as `ask`.
        """
        here = self._here.get(asyncio.get_running_loop()) or await self._open()
        free = here.preferred if preferred else here.others
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await free.acquire()
        except TimeoutError:
            raise Busy("as many questions are under way as MAX_QUESTIONS allows") from None
        try:
            return await ask(method, url, headers=headers, form=form, client=here.client)
        finally:
            free.release()

    async def _open(self) -> _Connections:
        for known in list(self._here):
            if known.is_closed():
                self._here.pop(known, None)
        loop = asyncio.get_running_loop()
        client = _client(httpx2.Limits(max_connections=self._size, keepalive_expiry=_KEEP_ALIVE_SECONDS))
        preferred, others = asyncio.Semaphore(self._reserved), asyncio.Semaphore(self._size - self._reserved)
        here = self._here[loop] = _Connections(client, preferred, others, self._close_with(loop, client))
        await anext(here.closing)
        return here

    async def _close_with(self, loop: AbstractEventLoop, client: httpx2.AsyncClient) -> AsyncGenerator[None]:
        """Close the connections with their loop, which ends every asynchronous generator that has begun on it."""
        try:
            yield
        finally:
            self._here.pop(loop, None)
            await client.aclose()


async def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    client: httpx2.AsyncClient | None = None,
) -> dict[str, Any]:
    """Return the JSON object that a server answers with; redirects are not followed.

    Without a `client` the connection is closed with the answer.

    Raises:
        UpstreamError: it cannot be reached, is too slow, or answers with anything else.
    """
    try:
        # The whole exchange has a limit; those of httpx2 begin anew with each byte.
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            nullcontext(client) if client is not None else _client() as asking,
            asking.stream(method, url, headers=headers, data=form) as response,
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
        raise UpstreamError("its answer is no JSON") from None
    if not isinstance(document, dict):
        raise UpstreamError("its answer is no JSON object")
    return document


def _client(limits: httpx2.Limits = _ONE) -> httpx2.AsyncClient:
    """Build a client that keeps no cookies: no question shall depend on another one's answer."""
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx2.AsyncClient(verify=_trusted(), timeout=None, limits=limits, cookies=cookies)


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BYTES:
                raise UpstreamError(f"its answer is longer than {MAX_BYTES} bytes")
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


def unavailable(reason: str = "the authorization server does not answer") -> ProtocolError:
    """Build the answer to credentials that nobody can be asked about now."""
    return authenticator.unavailable(reason)
