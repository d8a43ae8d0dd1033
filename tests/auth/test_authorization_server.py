"""Questions to an authorization server: asked once for many, bounded in time and size, and which answers count."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import socket
import threading
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth import http_client
from mcp_transport.auth.http_client import SingleFlight, UpstreamError, checked_url, request_json
from tests.auth.issuer import AuthServer
from tests.support.clock import settle

# -- servers that fail -----------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    **{str(status): {"status": status} for status in (400, 401, 403, 404, 429, 500, 502)},
    "204": {"status": 204, "body": b""},
    "redirect": {"status": 307, "headers": {"Location": "/elsewhere"}},
    "no JSON": {"body": b"<html>"},
    "nothing": {"body": b""},
    "no UTF-8": {"body": b'{"keys": ["\xff"]}'},
    "half a character": {"body": b'{"active": true, "sub": "\\ud800"}'},
    "a list": {"body": b"[]"},
    "a word": {"body": b"true"},
    "deep": {"body": b"[" * 100_000},
    "too long": {"body": json.dumps({"keys": [], "more": "x" * http_client.MAX_BYTES}).encode()},
    "too long when it is unpacked": {
        "body": gzip.compress(b" " * 20_000_000),
        "headers": {"Content-Encoding": "gzip"},
    },
    "no gzip": {"body": b"{}", "headers": {"Content-Encoding": "gzip"}},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_answer_of_no_use_is_none(server: AuthServer, fault: dict[str, Any]) -> None:
    vars(server).update(fault)
    with pytest.raises(UpstreamError) as caught:
        await request_json("GET", server.jwks_url)
    assert caught.value.status == (fault.get("status") or 0)
    assert [sent["path"] for sent in server.requests] == ["/jwks"], "no redirect is followed"


async def test_nobody_who_listens_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(UpstreamError):
            await request_json("GET", f"http://127.0.0.1:{unused.getsockname()[1]}/jwks")


@pytest.mark.parametrize("in_body", [False, True])
async def test_server_that_hangs_is_given_up(
    server: AuthServer, monkeypatch: pytest.MonkeyPatch, in_body: bool
) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT_SECONDS", 0.05)
    server.stalls_in_body = in_body
    server.hold()
    with pytest.raises(UpstreamError):
        await request_json("GET", server.jwks_url)


# -- many who request_json the same -------------------------------------------------------------------------------


class Work:
    """Work that ends when a test lets it, and how often it was begun."""

    def __init__(self) -> None:
        self.begun, self.may_end = 0, asyncio.Event()
        self.fails = False

    async def __call__(self) -> int:
        self.begun += 1
        await self.may_end.wait()
        if self.fails:
            raise UpstreamError("no")
        return self.begun


async def test_equal_questions_are_asked_once_and_others_apart() -> None:
    shared, work = SingleFlight[int](), Work()
    waiting = [asyncio.create_task(shared.run(key, work)) for key in "aab" * 20]
    await settle()
    work.may_end.set()
    await asyncio.gather(*waiting)
    assert work.begun == 2
    assert await shared.run("a", work) == 3, "an answer is not kept here"


async def test_who_began_to_ask_may_leave_the_others() -> None:
    shared, work = SingleFlight[int](), Work()
    first, second = [asyncio.create_task(shared.run("a", work)) for _ in range(2)]
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    work.may_end.set()
    assert (await second, work.begun) == (1, 1)


async def test_work_goes_on_when_everybody_has_left() -> None:
    shared, work = SingleFlight[int](), Work()
    first = asyncio.create_task(shared.run("a", work))
    await settle()
    first.cancel()
    await settle()
    last = asyncio.create_task(shared.run("a", work))
    work.may_end.set()
    assert (await last, work.begun) == (1, 1)


async def test_failure_is_everybodys_who_waits_and_nobodys_if_nobody_does() -> None:
    shared, work = SingleFlight[int](), Work()
    work.fails = True
    waiting = [asyncio.create_task(shared.run("a", work)) for _ in range(5)]
    left = asyncio.create_task(shared.run("b", work))
    await settle()
    left.cancel()
    await settle()
    work.may_end.set()
    assert [type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == [UpstreamError] * 5
    await settle()
    gc.collect()  # an exception that was never looked at would be reported now
    work.fails = False
    assert await shared.run("a", work) == 3


def test_event_loops_wait_apart_and_leave_nothing_behind() -> None:
    shared, begun, found = SingleFlight[str](), threading.Barrier(5), list[str]()

    async def work() -> str:
        await asyncio.to_thread(begun.wait, 5)
        return threading.current_thread().name

    threads = [
        threading.Thread(target=lambda: found.append(asyncio.run(shared.run("a", work))), name=str(number))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    begun.wait(5)
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0", "1", "2", "3"]
    gc.collect()
    assert not shared._tasks


def test_loop_that_ends_ends_its_work() -> None:
    shared, ended = SingleFlight[None](), list[str]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def leave() -> None:
        waiting = asyncio.create_task(shared.run("a", work))
        await settle()
        waiting.cancel()

    asyncio.run(leave())
    assert ended == ["work"]


# -- where it is -----------------------------------------------------------------------------------------


SAFE = [
    *("https://auth.example/jwks", "https://10.0.0.1:8443/jwks?v=1", "http://localhost/jwks"),
    *("http://LOCALHOST:8080/jwks", "http://auth.localhost/jwks", "http://127.0.0.1:1/jwks"),
    *("http://127.8.9.10/jwks", "http://[::1]:8080/jwks"),
]
UNSAFE = [
    *("", None, "auth.example/jwks", "http://auth.example/jwks", "http://127.0.0.1.auth.example/jwks"),
    *("http://localhost.auth.example/jwks", "http://localhost@auth.example/jwks", "http://10.0.0.1/jwks"),
    *("http://0.0.0.0/jwks", "ftp://localhost/jwks", "file:///etc/jwks", "https:///jwks", "https://"),
    *("http://[::1/jwks", "https://auth.example:port/jwks"),
]


@pytest.mark.parametrize("url", SAFE)
def test_safe_url_is_taken(url: str) -> None:
    assert checked_url("JWKS_URL", url) == url


@pytest.mark.parametrize("url", UNSAFE)
def test_unsafe_url_is_refused(url: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="JWKS_URL"):
        checked_url("JWKS_URL", url)
