"""The SDK's own servers, lifespans, notifications and authenticators that raise what nobody catches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolRequestParams, NotificationParams

from mcp_transport.auth.authenticator import Authenticator
from tests.django.test_crashes import records as records  # the fixture
from tests.django.test_misbehaving_handlers import CALL, ERAS, KINDS, SECRET, ended, text_of_failure
from tests.support.calls import opened
from tests.support.client import send_sessionless, until

every_kind = pytest.mark.parametrize("kind", KINDS)

kinds: list[str] = []
"""What is raised next."""


def fail() -> Any:
    return KINDS[kinds[-1]]()


def high_level(is_async: bool) -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("theirs")

    @server.tool()
    def right() -> str:
        return "done"

    if is_async:

        @server.tool(name="wrong")
        async def wrong() -> str:
            return str(fail())

    else:

        @server.tool(name="wrong")
        def wrong_in_a_thread() -> str:
            return str(fail())

    return server


async def _call(ctx: Any, params: CallToolRequestParams) -> Any:
    return fail()


async def _notified(ctx: Any, params: NotificationParams) -> None:
    fail()


low_level: Server[Any] = Server("theirs", on_call_tool=_call)
low_level.add_notification_handler("notifications/roots/list_changed", NotificationParams, _notified)


@asynccontextmanager
async def lifespan(server: Any) -> AsyncIterator[None]:
    if kinds:
        fail()
    yield


living: MCPServer[Any] = MCPServer("theirs", lifespan=lifespan)


class Judge(Authenticator):
    """An authenticator that fails."""

    async def authenticate(self, request: Any) -> Any:
        return fail()


@pytest.fixture(autouse=True)
def nothing_yet() -> None:
    kinds.clear()


def serve_theirs(settings: Any, monkeypatch: Any, server: Any) -> None:
    monkeypatch.setattr(sys.modules[__name__], "theirs", server, raising=False)
    settings.MCP_TRANSPORT = {"SERVER": f"{__name__}.theirs"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("way", ["synchronous", "asynchronous", "low-level"])
@every_kind
async def test_tools_of_other_servers_are_answered_for_too(
    kind: str, way: str, era: str, serve: Any, settings: Any, monkeypatch: Any
) -> None:
    server = low_level if way == "low-level" else high_level(way == "asynchronous")
    serve_theirs(settings, monkeypatch, server)
    kinds.append(kind)
    endpoint = serve()
    message = await ended(endpoint, era, *CALL)
    text = message["error"]["message"] if "error" in message else text_of_failure(message)
    assert SECRET not in text
    client = await opened(endpoint)
    assert (await client.request("ping")).status == 200


@every_kind
async def test_a_notification_that_is_handled_badly_is_logged(
    kind: str, serve: Any, settings: Any, monkeypatch: Any, records: Any
) -> None:
    serve_theirs(settings, monkeypatch, low_level)
    kinds.append(kind)
    client = await opened(serve())
    assert (await client.notify("notifications/roots/list_changed", {"_meta": {}})).status == 202
    await until(lambda: any(record.exc_info for record in records))
    assert (await client.request("ping")).status == 200
    node = await client.endpoint.node()
    await until(lambda: not node.running)


@every_kind
async def test_a_lifespan_that_cannot_begin_fails_its_request(
    kind: str, serve: Any, settings: Any, monkeypatch: Any
) -> None:
    serve_theirs(settings, monkeypatch, living)
    kinds.append(kind)
    endpoint = serve()
    async with asyncio.timeout(5):
        answer = await send_sessionless(endpoint, "tools/list")
        assert (answer.status, answer.error_code) == (500, -32603)
        assert SECRET.encode() not in answer.body
        kinds.clear()
        assert (await send_sessionless(endpoint, "tools/list")).status == 200


@every_kind
async def test_an_authenticator_that_raises_anything_fails_its_request(
    kind: str, serve: Any, settings: Any, records: Any
) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": [f"{__name__}.Judge"]}
    kinds.append(kind)
    endpoint = serve()
    async with asyncio.timeout(5):
        answer = await send_sessionless(endpoint, "tools/list")
    assert (answer.status, answer.error_code) == (500, -32603)
    assert SECRET.encode() not in answer.body
    assert any(record.exc_info for record in records)
