"""The REST API over a real redis-server: many sessions, found by its index, and calls of another node."""

from __future__ import annotations

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
    clients = ("desk", "phone")
    return [record(number, client_info={"name": clients[number % 2], "version": "1"}) for number in range(50)]


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


@pytest.mark.parametrize("query", ["", "client=desk%201", "client=desk%201&ordering=created", "ordering=-requests"])
def test_pages_together_are_all_that_is_found(query: str, sessions: list[Session], superuser: APIClient) -> None:
    found = [key for page in pages(superuser, f"{query}&page_size=7") for key in page]
    expected = [
        session.key for session in sessions if not query.startswith("client") or session.client_info["name"] == "desk"
    ]
    assert sorted(found) == sorted(expected)


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
