"""One attempt to send a request to one endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import httpx2

from mcp_transport.client.endpoints import Endpoint
from mcp_transport.client.requests import Outgoing
from mcp_transport.client.streams import is_stream

__all__ = ["AttemptFailed", "attempt"]

# The request did not leave, or no byte of it: it cannot have run.
_NOT_SENT: Final = (
    *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
    *(httpx2.ProxyError, httpx2.UnsupportedProtocol),
)
# RFC 9110, 15.6.4, and RFC 6585, 4: the server says that it did not take the request.
_NOT_TAKEN: Final = (429, 503)
# docs/reference/http.md: the request with this idempotency key, from a server that cannot join a repetition to it.
_STILL_RUNS: Final = 409
# A gateway does not say whether the server behind it took the request.
_GATEWAY: Final = (502, 504)
_WORKS: Final = (429, _STILL_RUNS)
_MAX_REDIRECTS: Final = 5


class AttemptFailed(Exception):
    """An endpoint that gave no answer of the server."""

    def __init__(
        self,
        reason: str,
        *,
        may_have_run: bool,
        retry_after: float = 0.0,
        works: bool = False,
        is_sent: bool = True,
    ) -> None:
        """Say why; `works` is for an endpoint that answered, and refused for now."""
        super().__init__(reason)
        self.reason, self.may_have_run, self.retry_after, self.works = reason, may_have_run, retry_after, works
        self.is_sent = is_sent


async def attempt(
    http: httpx2.AsyncClient,
    endpoint: Endpoint,
    outgoing: Outgoing,
    session_id: str | None,
    seconds: float,
    may_repeat: Callable[[], Awaitable[bool]],
) -> httpx2.Response:
    """Send a request to an endpoint; return its answer, which is read to its end unless it is a stream.

    After some `seconds` without an answer the attempt ends, if the request may be repeated, or else goes on.

    Raises:
        AttemptFailed: the endpoint cannot be reached, is overloaded, or does not answer, or not to the end.
    """
    headers = outgoing.headers | endpoint.headers | ({"mcp-session-id": session_id} if session_id else {})
    request = http.build_request(outgoing.verb, endpoint.url, headers=headers, content=outgoing.content or None)
    try:
        response = await _within(seconds, may_repeat, _send(http, request))
        if response.status_code == _STILL_RUNS and "idempotency-key" in outgoing.headers:
            raise await _refused(response)
        if response.status_code in _NOT_TAKEN or response.status_code in _GATEWAY:
            raise await _refused(response)
        return response if is_stream(response) else await _read(response)
    except _NOT_SENT as error:
        raise AttemptFailed(_described(error), may_have_run=False, is_sent=False) from error
    except httpx2.RequestError as error:
        raise AttemptFailed(_described(error), may_have_run=True) from error


async def _within(
    seconds: float, may_repeat: Callable[[], Awaitable[bool]], sending: Coroutine[Any, Any, httpx2.Response]
) -> httpx2.Response:
    """Send for some `seconds`, or longer if the request may not be repeated. Raises: AttemptFailed."""
    questions: list[asyncio.Task[None]] = []

    async def ask() -> None:
        if await may_repeat():
            limit.reschedule(loop.time())

    loop = asyncio.get_running_loop()
    late = loop.call_later(seconds, lambda: questions.append(loop.create_task(ask())))
    try:
        async with asyncio.timeout(None) as limit:
            return await sending
    except TimeoutError:
        raise AttemptFailed(f"no answer within {seconds:g} s", may_have_run=True) from None
    finally:
        late.cancel()
        for question in questions:
            question.cancel()


async def _read(response: httpx2.Response) -> httpx2.Response:
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


async def _send(http: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
    """Send a request, and again where the same origin redirects it with its method, as the SDK's transport does."""
    for _ in range(_MAX_REDIRECTS):
        response = await http.send(request, stream=True, follow_redirects=False)
        following = response.next_request
        if following is None or following.method != request.method or not _is_same_origin(request.url, following.url):
            return response
        await response.aclose()
        request = following
    return response


def _is_same_origin(url: httpx2.URL, other: httpx2.URL) -> bool:
    return (url.scheme, url.host, url.port, url.userinfo) == (other.scheme, other.host, other.port, other.userinfo)


async def _refused(response: httpx2.Response) -> AttemptFailed:
    await response.aclose()
    status, reason = response.status_code, response.reason_phrase
    retry_after = _seconds(response.headers.get("retry-after", ""))
    words = f"HTTP {status} {reason}".strip() + (f", Retry-After {retry_after:g} s" if retry_after else "")
    may_have_run = status not in _NOT_TAKEN
    return AttemptFailed(words, may_have_run=may_have_run, retry_after=retry_after, works=status in _WORKS)


def _seconds(retry_after: str) -> float:
    """Read the delay in seconds; a date is not read (RFC 9110, 10.2.3), the wait between attempts is for it."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else 0.0


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
