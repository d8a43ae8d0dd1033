"""One attempt to send a request to one endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

import httpx2

from mcp_transport.client.endpoints import Endpoint
from mcp_transport.client.errors import LoadRefusal, load_refusal
from mcp_transport.client.requests import Outgoing
from mcp_transport.client.sessions import parse_response
from mcp_transport.client.streams import is_stream, region_of

__all__ = ["AttemptFailed", "attempt"]

# No byte of the request was sent: it cannot have run.
_NOT_SENT: Final = (
    *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
    *(httpx2.ProxyError, httpx2.UnsupportedProtocol),
)
# RFC 9110, 15.6.4, and RFC 6585, 4: the server did not process the request.
_NOT_PROCESSED: Final = (429, 503)
# docs/reference/http.md: the request with this idempotency key is still running, and the retry cannot join it.
_STILL_RUNNING: Final = 409
# A gateway does not say whether its upstream processed the request.
_GATEWAY: Final = (502, 504)
_BUSY: Final = (429, _STILL_RUNNING)
_MAX_REDIRECTS: Final = 5


@dataclass(eq=False)
class AttemptFailed(Exception):
    """An attempt that got no response from the server."""

    reason: str
    _: KW_ONLY
    may_have_run: bool
    retry_after: float = 0.0
    is_busy: bool = False
    """Did the endpoint answer, and refuse the request for now?"""
    is_sent: bool = True
    is_for_tool: bool = False
    """Is it a limit of the called tool, so that the endpoint takes other requests?"""
    region: str = ""
    """The region that refused the request, if the server names it."""


async def attempt(
    http: httpx2.AsyncClient,
    endpoint: Endpoint,
    outgoing: Outgoing,
    session_id: str | None,
    seconds: float,
    may_repeat: Callable[[], Awaitable[bool]],
) -> httpx2.Response:
    """Send a request to an endpoint; return its response, which is read completely unless it is a stream.

    After `seconds` without a response the attempt ends if the request may be repeated, and continues otherwise.

    Raises:
        AttemptFailed: the endpoint is unreachable or overloaded, or its response is missing or incomplete.
    """
    headers = outgoing.headers | endpoint.headers | ({"mcp-session-id": session_id} if session_id else {})
    request = http.build_request(outgoing.verb, endpoint.url, headers=headers, content=outgoing.content or None)
    try:
        response = await _with_timeout(seconds, may_repeat, _send(http, request))
        is_running = response.status_code == _STILL_RUNNING and "idempotency-key" in outgoing.headers
        if is_running or response.status_code in (*_NOT_PROCESSED, *_GATEWAY):
            failure = await _refusal(response, seconds)
            failure.region = region_of(response)
            raise failure
        if is_stream(response):
            return response
        await _read(response)
        refusal = _load_refusal(response) if outgoing.begins_work else None
        if refusal is not None:
            raise _load_failure(_status(response), refusal)
        return response
    except _NOT_SENT as error:
        raise AttemptFailed(_description(error), may_have_run=False, is_sent=False) from error
    except httpx2.RequestError as error:
        raise AttemptFailed(_description(error), may_have_run=True) from error


async def _with_timeout(
    seconds: float, may_repeat: Callable[[], Awaitable[bool]], sending: Coroutine[Any, Any, httpx2.Response]
) -> httpx2.Response:
    """Wait `seconds` for a response, or without a limit if the request may not be repeated. Raises: AttemptFailed."""
    checks: list[asyncio.Task[None]] = []

    async def expire() -> None:
        if await may_repeat():
            limit.reschedule(loop.time())

    loop = asyncio.get_running_loop()
    timer = loop.call_later(seconds, lambda: checks.append(loop.create_task(expire())))
    try:
        async with asyncio.timeout(None) as limit:
            return await sending
    except TimeoutError:
        raise AttemptFailed(f"no answer within {seconds:g} s", may_have_run=True) from None
    finally:
        timer.cancel()
        for check in checks:
            check.cancel()


async def _read(response: httpx2.Response) -> httpx2.Response:
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


async def _send(http: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
    """Send a request and follow redirects of the same origin with the same method, as the SDK's transport does."""
    for _ in range(_MAX_REDIRECTS):
        response = await http.send(request, stream=True, follow_redirects=False)
        redirected = response.next_request
        if redirected is None or redirected.method != request.method or not _is_same_origin(request, redirected):
            return response
        await response.aclose()
        request = redirected
    return response


def _is_same_origin(request: httpx2.Request, other: httpx2.Request) -> bool:
    first, second = request.url, other.url
    return all(getattr(first, name) == getattr(second, name) for name in ("scheme", "host", "port", "userinfo"))


async def _refusal(response: httpx2.Response, seconds: float) -> AttemptFailed:
    """Return the failure that a status means; its body, read within `seconds`, may say more."""
    status = response.status_code
    if status in _NOT_PROCESSED and response.headers.get("content-type", "").startswith("application/json"):
        with suppress(httpx2.RequestError, TimeoutError):
            async with asyncio.timeout(seconds):
                await response.aread()
            if (refusal := _load_refusal(response)) is not None:
                return _load_failure(_status(response), refusal)
    await response.aclose()
    retry_after = _retry_after_seconds(response.headers.get("retry-after", ""))
    message = _status(response) + (f", Retry-After {retry_after:g} s" if retry_after else "")
    may_have_run = status not in _NOT_PROCESSED
    return AttemptFailed(message, may_have_run=may_have_run, retry_after=retry_after, is_busy=status in _BUSY)


def _status(response: httpx2.Response) -> str:
    return f"HTTP {response.status_code} {response.reason_phrase}".strip()


def _load_refusal(response: httpx2.Response) -> LoadRefusal | None:
    if b'"retryAfterMs"' not in response.content:  # most responses are not worth being parsed here
        return None
    return load_refusal(parse_response(response.content))


def _load_failure(status: str, refusal: LoadRefusal) -> AttemptFailed:
    reason = f"{status}: {refusal.message}, Retry-After {refusal.seconds:g} s"
    return AttemptFailed(
        reason, may_have_run=False, retry_after=refusal.seconds, is_busy=True, is_for_tool=refusal.is_for_tool
    )


def _retry_after_seconds(retry_after: str) -> float:
    """Parse a delay in seconds; a date (RFC 9110, 10.2.3) counts as 0, and the usual backoff applies."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else 0.0


def _description(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
