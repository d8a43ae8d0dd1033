"""Many tokens at once: how many questions and connections they take, and what becomes of those who wait."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler

from mcp_transport.asgi import mount
from mcp_transport.auth import fetching, introspection
from mcp_transport.auth.introspection import IntrospectionAuthenticator
from mcp_transport.bootstrap import endpoint
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from mcp_transport.protocol.principal import Principal
from tests.auth.issuer import ISSUER, RESOURCE, request
from tests.support.client import ENVELOPE
from tests.support.clock import FakeClock
from tests.support.inprocess import Direct
from tests.support.wire import BOTH, Request

GOOD, NEW = "a-good-token", "another-good-token"
PATIENCE = 10.0


class KeepAliveServer:
    """An authorization server that keeps connections, counts them, and answers about made-up tokens when it may."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.asked, self.cookies = list[str](), list[str]()
        self.open, self.most, self.connections = 0, 0, 0
        self.changed = asyncio.Event()
        self.hangs_up = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> KeepAliveServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}/introspect"
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.free.set()
        self._server.close()
        for writer in list(self._writers):
            writer.close()

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.asked) < times:
                self.changed.clear()
                await self.changed.wait()

    async def until_closed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.open:
                self.changed.clear()
                await self.changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections, self.open = self.connections + 1, self.open + 1
        self.most = max(self.most, self.open)
        try:
            while head := await self._head(reader):
                await self._answer(head, reader, writer)
                if self.hangs_up:
                    break
        finally:
            self._writers.discard(writer)
            self.open -= 1
            self.changed.set()
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> str:
        try:
            return (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        form = parse_qs((await reader.readexactly(int(headers["content-length"]))).decode())
        token = form["token"][0]
        self.asked.append(token)
        self.cookies.append(headers.get("cookie", ""))
        self.changed.set()
        if token not in (GOOD, NEW):
            await self.free.wait()
        known = {"active": True, "sub": token, "aud": RESOURCE}
        body = json.dumps(known if token in (GOOD, NEW) else {"active": False}).encode()
        lines = [
            "HTTP/1.1 200 OK",
            "Content-Type: application/json",
            "Set-Cookie: a=b",
            f"Content-Length: {len(body)}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeepAliveServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with KeepAliveServer() as running:
        yield running


def build(url: str, **options: Any) -> IntrospectionAuthenticator:
    given = {"url": url, "issuer": ISSUER, "audience": RESOURCE, "token": "ours"}
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
    server: KeepAliveServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock(time.time())
    authenticator = build(server.url, now=clock.now)
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    monkeypatch.setattr(fetching, "WAIT_SECONDS", 0.2)
    flood = [asyncio.create_task(outcome(authenticator, f"made-up-{number}")) for number in range(900)]
    await server.until_asked(1 + 15)

    asked = len(server.asked)
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    assert len(server.asked) == asked, "what is known is not asked about"
    await clock.advance(31)
    assert isinstance(await outcome(authenticator, GOOD), Principal), "who was there before has connections kept"
    assert await outcome(authenticator, NEW) == 503, "it may be good"

    async with asyncio.timeout(PATIENCE):
        refused = [await next_one for next_one in islice(asyncio.as_completed(flood), 900 - 15)]
    assert set(refused) == {503}
    server.free.set()
    assert Counter(await asyncio.gather(*flood)) == {503: 900 - 15, 401: 15}
    assert server.most <= 20
    [record] = [record for record in caplog.records if record.name == introspection.__name__]
    assert (record.levelname, "MAX_QUESTIONS" in record.getMessage()) == ("WARNING", True)
    assert isinstance(await outcome(authenticator, NEW), Principal)
    assert await outcome(authenticator, "made-up-again") == 401


async def test_equal_questions_wait_in_one_place(server: KeepAliveServer) -> None:
    authenticator = build(server.url, max_questions=2)
    waiting = [asyncio.create_task(outcome(authenticator, "made-up")) for _ in range(100)]
    await server.until_asked(1)
    server.free.set()
    assert set(await asyncio.gather(*waiting)) == {401}
    assert server.asked == ["made-up"]


async def test_questions_one_after_another_share_a_connection_and_no_cookies(server: KeepAliveServer) -> None:
    authenticator = build(server.url)
    server.free.set()
    for number in range(5):
        assert await outcome(authenticator, f"made-up-{number}") == 401
    assert server.connections == 1
    assert server.cookies == [""] * 5


async def test_connection_that_the_server_has_closed_is_not_used_again(server: KeepAliveServer) -> None:
    authenticator = build(server.url)
    server.free.set()
    server.hangs_up = True
    for number in range(3):
        assert await outcome(authenticator, f"made-up-{number}") == 401
        await server.until_closed()
    assert server.connections == 3


async def test_event_loops_have_connections_of_their_own_which_end_with_them(server: KeepAliveServer) -> None:
    authenticator, found = build(server.url, cache_seconds=0), list[Principal | int]()
    threads = [
        threading.Thread(target=lambda: found.append(asyncio.run(outcome(authenticator, GOOD)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert all(isinstance(item, Principal) for item in found)
    await server.until_closed()
    assert not authenticator._pool._here
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    assert server.connections == 5


async def test_loop_that_was_closed_without_a_word_is_forgotten(server: KeepAliveServer) -> None:
    authenticator = build(server.url)
    gone = asyncio.new_event_loop()
    gone.close()
    authenticator._pool._here[gone] = None  # type: ignore[assignment]
    assert isinstance(await outcome(authenticator, GOOD), Principal)
    assert list(authenticator._pool._here) == [asyncio.get_running_loop()]


async def test_number_of_questions_may_be_set(server: KeepAliveServer) -> None:
    authenticator = build(server.url, max_questions=4)
    flood = [asyncio.create_task(outcome(authenticator, f"made-up-{number}")) for number in range(20)]
    await server.until_asked(3)
    server.free.set()
    assert set(await asyncio.gather(*flood)) == {401}
    assert server.most == 3


@pytest.mark.parametrize("number", [1, 0, -1])
def test_too_few_questions_are_refused(number: int) -> None:
    with pytest.raises(ImproperlyConfigured, match="MAX_QUESTIONS must be 2 or more"):
        build("https://auth.example/introspect", max_questions=number)


async def test_flood_that_is_not_over_is_logged_again(
    server: KeepAliveServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, introspection.__name__)
    monkeypatch.setattr(fetching, "WAIT_SECONDS", 0.01)
    clock = FakeClock(time.time())
    authenticator = build(server.url, max_questions=2, now=clock.now)
    first = asyncio.create_task(outcome(authenticator, "made-up"))
    await server.until_asked(1)
    for minute in range(2):
        for number in range(3):
            assert await outcome(authenticator, f"made-up-{minute}-{number}") == 503
        await clock.advance(61)
    assert len([record for record in caplog.records if record.name == introspection.__name__]) == 2
    server.free.set()
    assert await first == 401


@pytest.fixture
async def application(server: KeepAliveServer, settings: Any, transactional_db: None) -> AsyncIterator[Any]:
    """Serve the project, its admin and the endpoint, which asks the server about tokens."""
    options = {"ISSUER": ISSUER, "URL": server.url, "TOKEN": "ours"}
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.MCP_TRANSPORT = {
        "RESOURCE_URL": RESOURCE,
        "AUTHENTICATORS": [{"BACKEND": "introspection", "OPTIONS": options}],
    }
    yield lambda adapter: mount(ASGIHandler()) if adapter == "mounted" else ASGIHandler()
    await endpoint().stop()


def listing(token: str) -> Request:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}}
    lines = [("Host", "localhost"), ("Content-Type", "application/json"), ("Accept", BOTH)]
    lines += [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/list")]
    return Request(headers=(*lines, ("Authorization", f"Bearer {token}")), body=json.dumps(body).encode())


@pytest.mark.parametrize("adapter", ["view", "mounted"])
async def test_flood_keeps_nobody_else_waiting(
    server: KeepAliveServer, application: Any, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    direct = Direct(application(adapter))
    assert (await direct.send(listing(GOOD))).status == 200
    monkeypatch.setattr(fetching, "WAIT_SECONDS", 60.0)  # the flood is there until it is let go
    flood = [asyncio.create_task(direct.send(listing(f"made-up-{number}"))) for number in range(100)]
    await server.until_asked(1 + 15)
    assert (await direct.send(listing(GOOD))).status == 200
    page = Request(method="GET", path="/admin/login/", headers=(("Host", "localhost"),))
    assert (await direct.send(page)).status == 200
    assert not any(task.done() for task in flood)
    server.free.set()
    assert {answer.status for answer in await asyncio.gather(*flood)} == {401}
    assert server.most <= 20
    await direct.close()
