"""Handlers, lifespans and notifications of other servers, and authenticators, that raise what nobody catches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolRequestParams, NotificationParams

from mcp_transport.auth.authenticator import Authenticator
from tests.django.declared import ERAS, later, response
from tests.django.raised import KINDS, SECRET, TELLING, text_of_failure
from tests.support.calls import opened
from tests.support.client import send_sessionless, until
from tests.support.project import Serve

every_kind = pytest.mark.parametrize("kind", KINDS)

kinds: list[str] = []
"""What is raised next."""


def fail() -> Any:
    return KINDS[kinds[-1]]() if kinds else None


def wrong() -> str:
    return str(fail())


async def _call(ctx: Any, params: CallToolRequestParams) -> Any:
    return fail()


async def _notified(ctx: Any, params: NotificationParams) -> None:
    fail()


@asynccontextmanager
async def lifespan(server: Any) -> AsyncIterator[None]:
    fail()
    yield


high_level, asynchronous = MCPServer[Any]("theirs"), MCPServer[Any]("theirs")
high_level.tool()(wrong)
asynchronous.tool()(later(wrong))
low_level: Server[Any] = Server("theirs", on_call_tool=_call)
low_level.add_notification_handler("notifications/roots/list_changed", NotificationParams, _notified)
living = MCPServer[Any]("theirs", lifespan=lifespan)


class Judge(Authenticator):
    """An authenticator that fails."""

    async def authenticate(self, request: Any) -> Any:
        return fail()


@pytest.fixture(autouse=True)
def nothing_yet() -> None:
    kinds.clear()


@pytest.fixture
def serve_theirs(settings: Any, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> Callable[..., Any]:
    def build(server: Any) -> Any:
        monkeypatch.setattr(sys.modules[__name__], "theirs", server, raising=False)
        settings.MCP_TRANSPORT = {"SERVER": f"{__name__}.theirs"}
        return serve()

    return build


@pytest.mark.parametrize(
    ("kind", "server"),
    [
        *((kind, low_level) for kind in KINDS),
        *((kind, server) for kind in TELLING for server in (high_level, asynchronous)),
    ],
)
async def test_tools_of_other_servers_are_answered_for_too(kind: str, server: Any, serve_theirs: Any) -> None:
    endpoint = serve_theirs(server)
    kinds.append(kind)
    for era in ERAS:
        text_of_failure(await response(endpoint, era, "tools/call", {"name": "wrong", "arguments": {}}))
    assert (await (await opened(endpoint)).request("ping")).status == 200


@every_kind
async def test_a_notification_that_is_handled_badly_is_logged(
    kind: str, serve_theirs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = await opened(serve_theirs(low_level))
    kinds.append(kind)
    assert (await client.notify("notifications/roots/list_changed", {"_meta": {}})).status == 202
    await until(lambda: any(record.exc_info for record in caplog.records))
    assert (await client.request("ping")).status == 200
    node = await client.endpoint.pool.node()
    await until(lambda: not node.registry.running)


async def refused(endpoint: Any) -> None:
    """Ask for something, which ends with an error that says nothing."""
    async with asyncio.timeout(60):
        answer = await send_sessionless(endpoint, "tools/list")
    assert (answer.status, answer.error_code) == (500, -32603)
    assert SECRET.encode() not in answer.body


@every_kind
async def test_a_lifespan_that_cannot_begin_fails_its_request(kind: str, serve_theirs: Any) -> None:
    endpoint = serve_theirs(living)
    kinds.append(kind)
    await refused(endpoint)
    kinds.clear()
    assert (await send_sessionless(endpoint, "tools/list")).status == 200


@every_kind
async def test_an_authenticator_that_raises_anything_fails_its_request(
    kind: str, serve: Serve, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": [f"{__name__}.Judge"]}
    kinds.append(kind)
    await refused(serve())
    assert any(record.exc_info for record in caplog.records)
