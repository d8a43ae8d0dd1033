"""Many tokens at once: how many questions and connections they take, and what becomes of those who wait."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler

from mcp_transport.asgi import mount
from mcp_transport.auth import http_client, introspection
from mcp_transport.auth.introspection import IntrospectionAuthenticator
from mcp_transport.bootstrap import endpoint
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from tests.auth.issuer import ISSUER, RESOURCE, TIMEOUT_SECONDS, AuthServer, request
from tests.support.clock import FakeClock
from tests.support.http.inprocess import Direct
from tests.support.http.messages import alone
from tests.support.http.request import Request

pytestmark = pytest.mark.slow

GOOD, NEW = "a-good-token", "another-good-token"


@pytest.fixture
def server(server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> AuthServer:
    """A server that keeps all who ask about made-up tokens waiting."""
    for token in (GOOD, NEW):
        server.answers[token] = {"active": True, "sub": token, "aud": RESOURCE}
    server.headers = {"Set-Cookie": "a=b"}
    monkeypatch.setattr(http_client, "TIMEOUT_SECONDS", 60.0)  # no question is given up
    server.hold(GOOD, NEW)
    return server


def build(server: AuthServer, **options: Any) -> IntrospectionAuthenticator:
    given = {"url": f"{server.url}/introspect", "issuer": ISSUER, "audience": RESOURCE, "token": "ours"}
    return IntrospectionAuthenticator(**{**given, **options})


async def outcome(authenticator: IntrospectionAuthenticator, token: str) -> Principal | int:
    """Return whom a token stands for, or the status that refuses it."""
    try:
        found = await authenticator.authenticate(request(token))
    except InvalidCredentials:
        return 401
    except ProtocolError as error:
        assert dict(error.headers)["Retry-After"]
        return error.status
    assert found is not None
    return found


async def test_made_up_tokens_take_no_more_connections_than_there_may_be(
    server: AuthServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    authenticator = build(server, now=clock.now)
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    monkeypatch.setattr(http_client, "POOL_WAIT_SECONDS", 0.2)
    flood = [asyncio.create_task(outcome(authenticator, f"made-up-{number}")) for number in range(900)]
    await server.until_requested(1 + 15)

    count = len(server.requests)
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    assert len(server.requests) == count, "what is known is not asked about"
    await clock.advance(31)
    assert isinstance(await outcome(authenticator, GOOD), Principal), "who was there before has connections kept"
    assert await outcome(authenticator, NEW) == 503, "it may be good"

    async with asyncio.timeout(TIMEOUT_SECONDS):
        refused = [await next_one for next_one in islice(asyncio.as_completed(flood), 900 - 15)]
    assert set(refused) == {503}
    server.release()
    assert Counter(await asyncio.gather(*flood)) == {503: 900 - 15, 401: 15}
    assert server.max_open <= 20
    [record] = [record for record in caplog.records if record.name == introspection.__name__]
    assert (record.levelname, "MAX_QUESTIONS" in record.getMessage()) == ("WARNING", True)
    assert isinstance(await outcome(authenticator, NEW), Principal)
    assert await outcome(authenticator, "made-up-again") == 401


async def test_questions_one_after_another_share_a_connection_and_no_cookies(server: AuthServer) -> None:
    authenticator = build(server)
    server.release()
    for number in range(5):
        assert await outcome(authenticator, f"made-up-{number}") == 401
    assert server.connections == 1
    assert not [sent for sent in server.requests if "cookie" in sent["headers"]]


async def test_connection_that_the_server_has_closed_is_not_used_again(server: AuthServer) -> None:
    authenticator = build(server)
    server.release()
    server.hangs_up = True
    for number in range(3):
        assert await outcome(authenticator, f"made-up-{number}") == 401
        await asyncio.to_thread(server.wait_until, lambda: not server.open)
    assert server.connections == 3


async def test_event_loops_have_connections_of_their_own_which_end_with_them(server: AuthServer) -> None:
    authenticator, found = build(server, cache_seconds=0), list[Principal | int]()
    threads = [
        threading.Thread(target=lambda: found.append(asyncio.run(outcome(authenticator, GOOD)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert all(isinstance(item, Principal) for item in found)
    await asyncio.to_thread(server.wait_until, lambda: not server.open)
    assert not authenticator._pool._by_loop
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    assert server.connections == 5


async def test_loop_that_was_closed_without_a_word_is_forgotten(server: AuthServer) -> None:
    authenticator = build(server)
    closed_loop = asyncio.new_event_loop()
    closed_loop.close()
    authenticator._pool._by_loop[closed_loop] = None  # type: ignore[assignment]
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    assert list(authenticator._pool._by_loop) == [asyncio.get_running_loop()]


async def test_number_of_questions_may_be_set(server: AuthServer) -> None:
    authenticator = build(server, max_questions=4)
    flood = [asyncio.create_task(outcome(authenticator, f"made-up-{number}")) for number in range(20)]
    await server.until_requested(3)
    server.release()
    assert set(await asyncio.gather(*flood)) == {401}
    assert server.max_open == 3


@pytest.mark.parametrize("number", [1, 0, -1])
def test_too_few_questions_are_refused(server: AuthServer, number: int) -> None:
    with pytest.raises(ImproperlyConfigured, match="MAX_QUESTIONS must be 2 or more"):
        build(server, max_questions=number)


async def test_flood_that_is_not_over_is_logged_again(
    server: AuthServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, introspection.__name__)
    monkeypatch.setattr(http_client, "POOL_WAIT_SECONDS", 0.01)
    clock = FakeClock()
    authenticator = build(server, max_questions=2, now=clock.now)
    first = asyncio.create_task(outcome(authenticator, "made-up"))
    await server.until_requested(1)
    for minute in range(2):
        for number in range(3):
            assert await outcome(authenticator, f"made-up-{minute}-{number}") == 503
        await clock.advance(61)
    assert len([record for record in caplog.records if record.name == introspection.__name__]) == 2
    server.release()
    assert await first == 401


@pytest.fixture
async def application(server: AuthServer, settings: Any, transactional_db: None) -> AsyncIterator[Any]:
    """Serve the project, its admin and the endpoint, which asks the server about tokens."""
    options = {"ISSUER": ISSUER, "URL": f"{server.url}/introspect", "TOKEN": "ours"}
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.MCP_TRANSPORT = {
        "RESOURCE_URL": RESOURCE,
        "AUTHENTICATORS": [{"BACKEND": "introspection", "OPTIONS": options}],
    }
    yield lambda adapter: mount(ASGIHandler()) if adapter == "mounted" else ASGIHandler()
    await endpoint().pool.stop()


def listing(token: str) -> Request:
    return alone("tools/list", {}).adding(("Authorization", f"Bearer {token}"))


@pytest.mark.parametrize("adapter", ["view", "mounted"])
async def test_flood_keeps_nobody_else_waiting(
    server: AuthServer, application: Any, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    direct = Direct(application(adapter))
    assert (await direct.send(listing(GOOD))).status == 200
    monkeypatch.setattr(http_client, "POOL_WAIT_SECONDS", 60.0)  # the flood is there until it is let go
    flood = [asyncio.create_task(direct.send(listing(f"made-up-{number}"))) for number in range(40)]
    await server.until_requested(1 + 15)
    assert (await direct.send(listing(GOOD))).status == 200
    page = Request(method="GET", path="/admin/login/", headers=(("Host", "localhost"),))
    assert (await direct.send(page)).status == 200
    assert not any(task.done() for task in flood)
    server.release()
    assert {answer.status for answer in await asyncio.gather(*flood)} == {401}
    assert server.max_open <= 20
    await direct.close()
