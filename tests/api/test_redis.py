"""The REST API over a real redis-server: many sessions, found by its index, and calls of another node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches
from rest_framework.test import APIClient

from mcp_transport import bootstrap
from mcp_transport.protocol.inbox import CancelCall, Closed
from mcp_transport.protocol.session import Flight, Session
from tests.api.conftest import ROOT
from tests.api.test_calls import ask
from tests.api.test_sessions import pages, record
from tests.support.client import until
from tests.support.redis.server import RedisServer

SESSIONS = f"{ROOT}sessions/"
NODE = "another"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def fifty() -> list[Session]:
    users, clients = ("ann", "bob", ""), ("desk", "phone")
    return [
        replace(
            record(number, created=4_000_000_000.0 + number * 7 % 50),
            user=users[number % 3],
            client_info={"name": clients[number % 2], "version": "1"},
        )
        for number in range(50)
    ]


@pytest.fixture
def told() -> list[Any]:
    """What the other node was sent."""
    return []


@pytest.fixture
def sessions(server: RedisServer, settings: Any) -> Iterator[list[Session]]:
    """Fifty sessions in Redis."""
    server.cli("flushall")
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"}
    # Requests are counted in the default cache, which needs rights of its own.
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, "mcp": cache}
    settings.MCP_TRANSPORT = {"CACHE": "mcp"}
    made = fifty()

    @async_to_sync
    async def fill() -> None:
        endpoint = bootstrap.endpoint()
        for session in made:
            assert await endpoint.backend.restore(session)  # `open` would have them begin now
        await endpoint.backend._write_books()  # type: ignore[attr-defined]
        await endpoint.release()

    fill()
    yield made
    caches.close_all()


def test_pages_together_are_all_sessions(sessions: list[Session], superuser: APIClient) -> None:
    for size in (7, 50, 1000):
        found = [key for page in pages(superuser, f"page_size={size}") for key in page]
        assert (len(found), set(found)) == (50, {session.key for session in sessions})


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ("user=ann", {"user": "ann"}),
        ("client=desk%201", {"name": "desk"}),
        ("client=desk%201&user=ann", {"name": "desk", "user": "ann"}),
        ("search=PHO", {"name": "phone"}),
        ("search=bob&client=phone%201&protocol=2025-11-25", {"user": "bob", "name": "phone"}),
        ("user=eve", {"user": "eve"}),
        ("user=%2A", {"user": "*"}),
        ("user=ann&ordering=created&state=opening", {"user": "ann"}),
        ("user=bob&created_before=2096-10-02T00:00:00Z", {"user": "bob", "name": "nobody"}),
    ],
)
def test_pages_of_what_is_found_are_all_of_it(
    query: str, members: dict[str, str], sessions: list[Session], superuser: APIClient
) -> None:
    expected = {item.key for item in sessions if members.items() <= {"user": item.user, **item.client_info}.items()}
    found = pages(superuser, f"{query}&page_size=4")
    assert sorted(key for page in found for key in page) == sorted(expected)


@pytest.mark.parametrize("ordering", ["last_seen", "-last_seen", "created", "-created", "requests", "-errors"])
def test_pages_in_each_order_are_all_sessions(ordering: str, sessions: list[Session], superuser: APIClient) -> None:
    for query, count in (("", 50), ("&client=desk%201", 25)):
        found = [key for page in pages(superuser, f"ordering={ordering}&page_size=7{query}") for key in page]
        assert len(set(found)) == len(found) == count


@pytest.mark.parametrize("query", ["", "&user=ann", "&created_after=2026-01-31T12:00:00%2B01:00"])
def test_pages_are_in_the_order_of_beginnings(query: str, sessions: list[Session], superuser: APIClient) -> None:
    begun = {session.key: session.created for session in sessions}
    for ordering, is_reversed in (("created", False), ("-created", True)):
        found = [key for page in pages(superuser, f"ordering={ordering}&page_size=7{query}") for key in page]
        times = [begun[key] for key in found]
        assert times
        assert times == sorted(times, reverse=is_reversed)


def test_sessions_that_are_used_most_come_first(sessions: list[Session], superuser: APIClient) -> None:
    @async_to_sync
    async def use() -> None:
        endpoint = bootstrap.endpoint()
        for times, session in enumerate(sessions[:4], start=1):
            flights = [Flight(request_id=id, digest=b"", node=NODE, stream="s") for id in range(times)]
            assert await endpoint.backend.enter(session.key, session.principal, NODE, flights)
        await endpoint.backend._write_books()  # type: ignore[attr-defined]
        await endpoint.release()

    use()
    for query in ("", "&client=desk%201"):
        used = [item for item in reversed(sessions[:4]) if not query or item.client_info["name"] == "desk"]
        page = superuser.get(f"{SESSIONS}?ordering=-requests&page_size={len(used)}{query}").json()
        assert [item["key"] for item in page["results"]] == [session.key for session in used]


def test_every_session_is_shown_and_ended_by_its_short_id(sessions: list[Session], superuser: APIClient) -> None:
    for session in sessions[:5]:
        url = f"{SESSIONS}{session.key[:10].lower()}/"
        assert superuser.get(url).json()["key"] == session.key
        assert superuser.delete(url).status_code == 204
        assert superuser.get(url).status_code == 404
    assert superuser.get(SESSIONS).json()["count"] == 45


async def test_call_of_another_node_is_shown_and_cancelled(
    sessions: list[Session], superuser: APIClient, told: list[Any]
) -> None:
    session, url = sessions[3], f"{SESSIONS}{sessions[3].key}/"
    # A second backend, as another process has one.
    other = bootstrap.build_backend()
    await other.start(NODE, told.append)
    try:
        flights = [Flight(request_id=id, digest=b"canary", node=NODE, stream="s") for id in (7, "7")]
        assert await other.enter(session.key, session.principal, NODE, flights)
        [node] = (await ask(superuser, "GET", f"{ROOT}nodes/")).json()["results"]
        assert (node["name"], node["draining"]) == (NODE, False)
        assert 0 <= node["age"] < 60
        answer = await ask(superuser, "GET", url)
        assert [(call["request_id"], call["node"]) for call in answer.json()["calls"]] == [(7, NODE), ("7", NODE)]
        assert b"canary" not in answer.content
        for id, status in ((7, 204), ("8", 404), ("\ud800", 404)):
            answer = await ask(superuser, "POST", f"{url}calls/cancel/", {"request_id": id})
            assert answer.status_code == status
        assert (await ask(superuser, "DELETE", url)).status_code == 204
        await until(lambda: len(told) == 2)
        assert told == [CancelCall(session.key, 7, by_staff=True, stream="s"), Closed(session.key)]
    finally:
        await other.stop(NODE)
        await other.disconnect()


def test_server_that_is_gone_is_503(settings: Any, superuser: APIClient) -> None:
    with RedisServer() as server:
        cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"}
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, "mcp": cache}
        settings.MCP_TRANSPORT = {"CACHE": "mcp"}
        assert superuser.get(SESSIONS).json()["count"] == 0
    answer = superuser.get(SESSIONS)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
