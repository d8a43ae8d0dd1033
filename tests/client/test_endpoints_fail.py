"""A failing endpoint only costs time; if all fail, one exception lists their errors within the deadline."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from mcp_transport.client import Client, EndpointsUnavailable
from tests.client.endpoints import answering, hanging, refusing, self_signed
from tests.client.scripted import ReceivedRequest, Script, Write, json_answer
from tests.client.servers import sdk, serving
from tests.support.http.losing_proxy import Serving

LIMITS: Any = {"deadline": 3.0, "attempt_timeout": 1.0}
MANY = 150
LONG = 30.0
"""Seconds; a request with a deadline of three seconds is faster on any machine."""

KINDS: dict[str, tuple[Callable[[], Serving], str]] = {
    "refuses": (refusing, "ConnectError"),
    "hangs": (hanging, "no answer within 1 s"),
    "503": (lambda: answering("503 Service Unavailable"), "HTTP 503 Service Unavailable"),
    "503 for now": (lambda: answering("503 Service Unavailable", "Retry-After: 1"), "Retry-After 1 s"),
    "429": (lambda: answering("429 Too Many Requests", "Retry-After: 3600"), "HTTP 429 Too Many Requests"),
    "502": (lambda: answering("502 Bad Gateway", body=b"<html>"), "HTTP 502 Bad Gateway"),
    "504": (lambda: answering("504 Gateway Timeout"), "HTTP 504 Gateway Timeout"),
    "wrong certificate": (self_signed, "CERTIFICATE_VERIFY_FAILED"),
    "closes": (lambda: answering("101"), "RemoteProtocolError"),
}


@pytest.mark.slow  # each starts two servers and a client
@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_next_endpoint_is_taken(kind: str, mode: str) -> None:
    fail, _ = KINDS[kind]
    async with serving(sdk) as good, fail() as bad, Client([bad, good.url], mode=mode, **LIMITS) as client:
        result = await client.call_tool("act", {"text": "a"})
        assert result.structured_content == {"result": "a"}
        assert good.runs == ["act"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_when_all_fail_one_exception_says_how_each_did(mode: str) -> None:
    async with AsyncExitStack() as stack:
        kinds = {await stack.enter_async_context(fail()): text for fail, text in KINDS.values()}
        started_at = time.monotonic()
        with pytest.raises(EndpointsUnavailable) as caught:
            async with Client(list(kinds), mode=mode, **LIMITS):
                pass
        assert time.monotonic() - started_at < LONG
    assert caught.value.retryable
    assert caught.value.endpoints.keys() == kinds.keys()
    for url, text in kinds.items():
        assert text in caught.value.endpoints[url]
        assert f"{url}: " in str(caught.value)


async def test_a_wait_beyond_the_deadline_is_not_waited_for() -> None:
    busy = answering("503 Service Unavailable", "Retry-After: 3600")
    async with busy as url:
        started_at = time.monotonic()
        with pytest.raises(EndpointsUnavailable, match="3600 s"):
            async with Client(url, deadline=3000.0):
                pass
        assert time.monotonic() - started_at < LONG


@pytest.mark.slow
async def test_a_wait_within_the_deadline_is_waited_for() -> None:
    received: list[bytes] = []
    async with answering("503 Service Unavailable", "Retry-After: 1", received=received) as url:
        started_at = time.monotonic()
        with pytest.raises(EndpointsUnavailable):
            async with Client(url, deadline=1.9):
                pass
        assert time.monotonic() - started_at > 1.0
        assert len(received) <= 2, "it was asked again before the second had passed"


@pytest.mark.slow
async def test_an_endpoint_that_comes_back_is_found() -> None:
    """A client of one endpoint survives its restart."""
    async with refusing() as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
    connecting = asyncio.ensure_future(_call(url))
    await asyncio.sleep(0)
    async with serving(sdk, port=port) as good:
        assert await connecting == "a"
        assert good.runs == ["act"]


async def _call(url: str) -> str:
    async with Client(url, deadline=LONG) as client:
        result = await client.call_tool("act", {"text": "a"})
        assert result.structured_content is not None
        return str(result.structured_content["result"])


async def test_a_request_after_a_failure_does_not_ask_the_failed_endpoint_first() -> None:
    received: list[bytes] = []
    bad = answering("502 Bad Gateway", received=received)
    async with serving(sdk) as good, bad as url, Client([url, good.url], **LIMITS) as client:
        before = len(received)
        for _ in range(5):
            await client.call_tool("act", {"text": "a"})
        assert len(received) == before


async def test_what_the_http_client_says_goes_with_each_request() -> None:
    received: list[bytes] = []
    bad = answering("503 Service Unavailable", received=received)
    http = httpx2.AsyncClient(headers={"X-Tenant": "shop"}, auth=("ann", "secret"), cookies={"lang": "de"})
    async with serving(sdk) as good, bad as url, http, Client([url, good.url], http_client=http, **LIMITS) as client:
        await client.list_tools()

    head = received[0].lower()
    assert b"x-tenant: shop" in head
    assert b"authorization: basic" in head
    assert b"cookie: lang=de" in head


async def test_credentials_in_a_url_are_sent_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    received: list[bytes] = []
    busy = answering("503 Service Unavailable", received=received)
    async with serving(sdk) as good, busy as url:
        with_password = url.replace("//", "//ann:p%40ss@")
        async with Client([with_password, good.url], **LIMITS) as client:
            assert "ss@" not in repr(client)
    assert b"authorization: basic " + b64encode(b"ann:p@ss").lower() in received[0].lower()
    assert "p%40ss" not in caplog.text


@pytest.mark.slow
async def test_many_calls_at_once_need_not_wait_for_a_connection() -> None:
    """The HTTP library's default pool has 100 connections; waiting for one would look like a dead endpoint."""
    script, together = Script(), asyncio.Event()

    async def answer(received: ReceivedRequest, write: Write) -> None:
        if script.kinds().count("tools/call") == MANY:
            together.set()
        await together.wait()
        await json_answer({"content": []})(received, write)

    script.answers = {"tools/call": [answer]}
    async with script.serve() as url, Client(url, mode="legacy", deadline=LONG) as client:
        results = await asyncio.gather(*(client.call_tool("act", {}) for _ in range(MANY)))
    assert len(results) == MANY


async def test_headers_without_an_http_client_go_with_each_request() -> None:
    received: list[bytes] = []
    bad = answering("503 Service Unavailable", received=received)
    async with serving(sdk) as good, bad as url, Client([url, good.url], headers={"X-Tenant": "shop"}, **LIMITS):
        assert b"x-tenant: shop" in received[0].lower()


def test_headers_beside_an_http_client_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be combined with http_client"):
        Client("http://a/mcp", http_client=httpx2.AsyncClient(), headers={"a": "b"})


@pytest.mark.parametrize("option", ["deadline", "attempt_timeout", "idle_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "30", None])
def test_seconds_that_are_none_are_refused(option: str, seconds: object) -> None:
    options: Any = {option: seconds}
    with pytest.raises(ValueError, match=option):
        Client("http://a/mcp", **options)
