"""The view inside a Django project: its users, sessions that belong to them, and both forms of the URL."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient

from mcp_transport import Context, tool
from tests.support.client import ENVELOPE

SESSIONLESS = {
    "accept": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "look",
}
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@pytest.fixture(autouse=True)
def look(declarations: Any) -> None:
    @tool
    def look(ctx: Context) -> str:
        """Tell who calls."""
        return ctx.user.get_username() or "-"


def body(method: str, params: Any, number: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


CALL = body("tools/call", {"name": "look", "arguments": {}, "_meta": ENVELOPE})


def seen(response: Any) -> str:
    assert response.status_code == 200, response.content
    text: str = json.loads(response.content)["result"]["content"][0]["text"]
    return text


async def look_through(client: Any, url: str = "/mcp") -> str:
    return seen(await client.post(url, CALL, content_type="application/json", headers=SESSIONLESS))


async def test_user_of_the_session_cookie_reaches_the_tool(transactional_db: None) -> None:
    client = AsyncClient()
    assert await look_through(client) == "-"
    await client.aforce_login(await User.objects.acreate_user("ann"))
    assert await look_through(client) == "ann"
    await client.alogout()
    assert await look_through(client) == "-"


async def test_session_of_a_user_does_not_exist_for_another(transactional_db: None) -> None:
    ann, bob, nobody = AsyncClient(), AsyncClient(), AsyncClient()
    await ann.aforce_login(await User.objects.acreate_user("ann"))
    await bob.aforce_login(await User.objects.acreate_user("bob"))
    accept = {"accept": "application/json, text/event-stream"}
    initialized = await ann.post(
        "/mcp", body("initialize", INITIALIZE), content_type="application/json", headers=accept
    )
    headers = {**accept, "mcp-session-id": initialized["mcp-session-id"]}

    async def ping(client: Any) -> int:
        response = await client.post("/mcp", body("ping", {}, 2), content_type="application/json", headers=headers)
        status: int = response.status_code
        return status

    assert [await ping(client) for client in (ann, bob, nobody)] == [200, 404, 404]
    await ann.aforce_login(await User.objects.aget(username="ann"))  # a new cookie, the same user
    assert await ping(ann) == 200


async def test_common_middleware_redirects_neither_form_of_the_url(settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", *settings.MIDDLEWARE]
    assert await look_through(AsyncClient()) == "-"
    assert await look_through(AsyncClient(), "/mcp/") == "-"


async def test_project_without_users_is_served(settings: Any) -> None:
    settings.MIDDLEWARE = []
    assert await look_through(AsyncClient()) == "-"
