"""The pages on a real Redis, from a process that serves no MCP: all sessions, calls and streams of all nodes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from mcp_transport import Context, tool
from mcp_transport.engine.endpoint import Endpoint
from tests.support.canaries import PLANTED
from tests.support.redis.backend import write_index
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate
from tests.support.visits import LIST, Visitor, elsewhere, ids, messages, page

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def tools(declarations: Any, gate: Gate, server: RedisServer, settings: Any) -> None:
    server.cli("flushall")
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"}}

    @tool(read_only=True)  # so that what it is called with is stored with the session
    async def wait(ctx: Context, note: str = "") -> str:
        await ctx.report_progress(1)
        await gate.pass_through()
        return "through"


@pytest.fixture
async def visitor(endpoint: Endpoint) -> Visitor:
    visitor = Visitor(endpoint, "desk", "ann")
    await visitor.open({"roots": {}})
    return visitor


async def test_sessions_are_listed_and_found(boss: Client, visitor: Visitor) -> None:
    phone = Visitor(visitor.endpoint, "phone", version="2025-06-18")
    await phone.open()
    await write_index(visitor.endpoint.backend)
    text = page(response := await elsewhere(boss.get, LIST))
    assert set(ids(response)) == {visitor.short_id, phone.short_id}
    assert "Each server process" not in text
    node = visitor.endpoint.pool.nodes[0].id
    assert f'<a href="?node={node}"><bdi>{socket.gethostname()}:{os.getpid()} · {node}</bdi>' in text
    for query, found in {
        "user=ann": visitor,
        "q=PHO": phone,
        "client=desk+1": visitor,
        "protocol_version=2025-06-18": phone,
        f"q={phone.short_id[:6]}": phone,
        f"node={node}&user=ann": visitor,
    }.items():
        assert ids(await elsewhere(boss.get, f"{LIST}?{query}")) == [found.short_id], query
    assert ids(await elsewhere(boss.get, f"{LIST}?node=nowhere")) == []


async def test_call_of_another_process_is_shown_and_cancelled(boss: Client, visitor: Visitor, gate: Gate) -> None:
    answer = await visitor.call("wait", id=5)
    await gate.wait(gate.entered)
    assert await answer.message()
    text = page(await elsewhere(boss.get, visitor.url()))
    assert "Each server process" not in text
    assert "Cancel call 5" in text
    assert visitor.endpoint.pool.nodes[0].id in text
    response = await elsewhere(boss.post, visitor.url("cancel"), {"request": "5", "post": "yes"}, follow=True)
    assert messages(response) == ["The call is being cancelled."]
    await gate.wait(gate.left)
    assert gate.cancelled


async def test_what_a_call_is_made_with_is_neither_shown_nor_logged(
    boss: Client, visitor: Visitor, gate: Gate
) -> None:
    await visitor.call("wait", {"note": PLANTED}, id=5)
    await gate.wait(gate.entered)
    for view in ("change", "delete"):
        text = page(await elsewhere(boss.get, visitor.url(view)))
        assert visitor.short_id in text
        assert PLANTED not in text


async def test_ended_session_is_404_for_its_client(boss: Client, visitor: Visitor, gate: Gate) -> None:
    await visitor.call("wait", id=5)
    await gate.wait(gate.entered)
    text = page(await elsewhere(boss.post, f"{LIST}end/", {"_selected_action": visitor.key}))
    assert "1 running call" in text
    chosen = {"_selected_action": visitor.key, "post": "yes"}
    assert messages(await elsewhere(boss.post, f"{LIST}end/", chosen, follow=True)) == ["1 session was ended."]
    await gate.wait(gate.left)
    assert (await visitor.request("ping")).status == 404
    assert ids(await elsewhere(boss.get, LIST)) == []


async def test_outage_is_a_readable_page(boss: Client, settings: Any, transactional_db: None) -> None:
    with RedisServer() as gone:
        pass
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{gone.url}/0"}}
    text = page(await elsewhere(boss.get, LIST), 503)
    assert "The session store does not answer" in text
    assert "Traceback" not in text
