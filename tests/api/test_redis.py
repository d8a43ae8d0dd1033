"""The REST API over a real redis-server: many sessions, found by its index, and calls of another node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from rest_framework.test import APIClient

from mcp_transport import bootstrap
from mcp_transport.protocol.inbox import CancelCall, Closed
from mcp_transport.protocol.session import Flight, Session
from tests.api.conftest import ROOT, pages, record, use_redis
from tests.api.test_calls import ask
from tests.support.client import until
from tests.support.redis.server import RedisServer

SESSIONS = f"{ROOT}sessions/"
NODE = "another"

pytestmark = pytest.mark.servers


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
def sessions(sessions_in_redis: None) -> list[Session]:
    """Fifty sessions in Redis."""
    made = fifty()

    @async_to_sync
    async def fill() -> None:
        endpoint = bootstrap.endpoint()
        for session in made:
            assert await endpoint.backend.restore(session)  # `open` would have them begin now
        await endpoint.backend._write_books()  # type: ignore[attr-defined]
        await endpoint.release()

    fill()
    return made


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ("page_size=7", {}),
        ("page_size=50", {}),
        ("client=desk%201&user=ann&page_size=4", {"name": "desk", "user": "ann"}),
        ("search=bob&client=phone%201&protocol=2025-11-25&page_size=4", {"user": "bob", "name": "phone"}),
        ("user=%2A", {"user": "*"}),
        ("user=ann&ordering=created&state=opening&page_size=4", {"user": "ann"}),
        ("user=bob&created_before=2096-10-02T00:00:00Z", {"user": "bob", "name": "nobody"}),
        *(
            (f"ordering={ordering}&page_size=7&client=desk%201", {"name": "desk"})
            for ordering in ("last_seen", "-last_seen", "requests", "-errors")
        ),
    ],
)
def test_pages_together_are_all_that_is_found(
    query: str, members: dict[str, str], sessions: list[Session], superuser: APIClient
) -> None:
    expected = {item.key for item in sessions if members.items() <= {"user": item.user, **item.client_info}.items()}
    found = [key for page in pages(superuser, query) for key in page]
    assert sorted(found) == sorted(expected)


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
        use_redis(settings, server)
        assert superuser.get(SESSIONS).json()["count"] == 0
    answer = superuser.get(SESSIONS)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
