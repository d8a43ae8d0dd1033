"""The view behind middleware that compresses, stores, hashes or answers for it: the real ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from mcp_transport.protocol.origin import EXPOSED_HEADERS, REQUEST_HEADERS
from tests.adapters.exchanges import EXCHANGES
from tests.support.http.answer import Answer
from tests.support.http.client import open_session, text
from tests.support.http.inprocess import Direct
from tests.support.http.messages import alone, call, post
from tests.support.http.request import HOST, Request
from tests.support.served import InProcess, application
from tests.support.site import settings as site

pytestmark = pytest.mark.slow

GZIP = "django.middleware.gzip.GZipMiddleware"
CONDITIONAL = "django.middleware.http.ConditionalGetMiddleware"
UPDATE, FETCH = (f"django.middleware.cache.{name}CacheMiddleware" for name in ("Update", "FetchFrom"))
CORS = "corsheaders.middleware.CorsMiddleware"
PAGE, STRANGER = "https://app.example", "https://evil.example"
STREAMED = [exchange for exchange in EXCHANGES if exchange.streams and not exchange.connection]


class Taking(Direct):
    """A client that takes compressed answers, and unpacks what is no stream."""

    async def send(self, request: Request) -> Answer:
        answer = await super().send(request.setting("Accept-Encoding", "gzip, deflate, br"))
        assert answer.header("content-encoding") in ((None, "gzip"), ("identity",))[answer.is_stream]
        if answer.header("content-encoding") == "gzip":
            body = await answer.read()
            assert answer.header("content-length") == str(len(body))
            answer._text = bytearray(gzip.decompress(body))
        return answer


@pytest.fixture
def behind(in_process: InProcess) -> Iterator[Callable[..., Direct]]:
    """Build a view behind middleware, in the order of Django's documentation."""
    in_process("view")
    changed = []

    def build(*names: str, kind: type[Direct] = Direct, **changes: Any) -> Direct:
        changed.append(override_settings(MIDDLEWARE=[*names, *site.MIDDLEWARE], **changes))
        changed[-1].enable()
        return kind(application("view"))

    yield build
    for change in changed:
        change.disable()


@pytest.mark.parametrize("names", [(GZIP,), (CONDITIONAL,), (UPDATE, FETCH), (UPDATE, GZIP, CONDITIONAL, FETCH)])
async def test_streams_pass_middleware_as_they_are(
    transactional_db: None, behind: Callable[..., Direct], names: tuple[str, ...], subtests: pytest.Subtests
) -> None:
    carrier = behind(*names, kind=Taking)
    for exchange in STREAMED:
        with subtests.test(exchange.name):
            await exchange.play(carrier)
    await carrier.close()


async def test_documents_are_compressed_and_whole(behind: Callable[..., Direct]) -> None:
    carrier = behind(GZIP)
    answer = await carrier.send(alone("tools/list", {}).setting("Accept-Encoding", "gzip"))
    assert answer.header("content-encoding") == "gzip"
    body = await answer.read()
    assert json.loads(bytearray(gzip.decompress(body)))["result"]["tools"]
    await carrier.close()


@pytest.mark.parametrize("names", [(CONDITIONAL,), (UPDATE, FETCH), (UPDATE, CONDITIONAL, FETCH)])
async def test_no_answer_comes_from_a_store(behind: Callable[..., Direct], names: tuple[str, ...]) -> None:
    carrier = behind(*names)
    session = await open_session(carrier)
    assert await text(carrier, session.call("recall")) == "nothing"
    assert await text(carrier, session.call("remember", value="tea")) == "kept"
    assert await text(carrier, session.call("recall")) == "tea"
    for _ in range(2):
        stream = await carrier.send(session.get().adding(("If-None-Match", "*")))
        assert (stream.status, stream.header("etag")) == (200, None)
        await stream.close()
    assert (await carrier.send(session.delete())).status == 204
    for _ in range(2):
        gone = await carrier.send(session.get().adding(("If-None-Match", "*")))
        assert (gone.status, gone.header("etag"), gone.header("cache-control")) == (404, None, "no-store")
    await carrier.close()


# -- django-cors-headers -----------------------------------------------------------------------------


def preflight(origin: str) -> Request:
    asked = ("Access-Control-Request-Headers", "mcp-session-id, last-event-id, mcp-param-region")
    return Request(
        method="OPTIONS", headers=(HOST, ("Origin", origin), ("Access-Control-Request-Method", "POST"), asked)
    )


LEFT_ALONE = r"^(?!/mcp|/\.well-known/)"
GRANTING = {
    "CORS_ALLOW_HEADERS": [name.lower() for name in REQUEST_HEADERS],
    "CORS_EXPOSE_HEADERS": [*EXPOSED_HEADERS],
}


@pytest.mark.parametrize("changes", [{"CORS_URLS_REGEX": LEFT_ALONE}, GRANTING], ids=["left alone", "granting"])
@pytest.mark.parametrize("place", ["first", "last"])
async def test_pages_get_each_cors_header_once(
    behind: Callable[..., Direct], place: str, changes: dict[str, Any]
) -> None:
    names = (CORS,) if place == "first" else (GZIP, CONDITIONAL, CORS)
    carrier = behind(
        *names, INSTALLED_APPS=[*settings.INSTALLED_APPS, "corsheaders"], CORS_ALLOWED_ORIGINS=[PAGE], **changes
    )
    asked = await carrier.send(preflight(PAGE))
    await asked.read()
    assert asked.header("access-control-allow-origin") == PAGE
    allowed = {name.strip().lower() for name in (asked.header("access-control-allow-headers") or "").split(",")}
    assert {name.lower() for name in REQUEST_HEADERS} <= allowed
    for request in (call("chatter"), call("echo", text="x"), post({"jsonrpc": "1.0"})):
        answer = await carrier.send(request.adding(("Origin", PAGE)))
        assert answer.header("access-control-allow-origin") == PAGE, "once"
        exposed = {name.strip() for name in (answer.header("access-control-expose-headers") or "").split(",")}
        assert set(EXPOSED_HEADERS) <= exposed
        assert "origin" in (answer.header("vary") or "").lower()
        await answer.read()
    await carrier.close()


async def test_cors_headers_let_no_page_in_that_the_endpoint_does_not_know(behind: Callable[..., Direct]) -> None:
    apps = [*settings.INSTALLED_APPS, "corsheaders"]
    carrier = behind(CORS, INSTALLED_APPS=apps, CORS_ALLOW_ALL_ORIGINS=True)
    answer = await carrier.send(call("echo", text="x").adding(("Origin", STRANGER)))
    await answer.read()
    assert (answer.status, answer.header("access-control-allow-origin")) == (403, "*")
    await carrier.close()
    carrier = behind(CORS, INSTALLED_APPS=apps, CORS_ALLOW_ALL_ORIGINS=True, CORS_URLS_REGEX=LEFT_ALONE)
    answer = await carrier.send(preflight(STRANGER))
    await answer.read()
    assert (answer.status, answer.header("access-control-allow-origin")) == (403, None)
    await carrier.close()
