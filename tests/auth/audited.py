"""An endpoint with Ann as its client, tools that end in every way, and somebody who hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_transport import Context, bootstrap, tool
from mcp_transport.engine.endpoint import Endpoint
from tests.support.listeners import BADGE, AnnsClient, receiving
from tests.support.tools import Gate

OPEN = {"AUTHENTICATORS": [BADGE, None]}


@pytest.fixture
def tools(declarations: Any, gate: Gate) -> None:
    @tool
    def add(a: int, b: int) -> int:
        return a + b

    @tool
    def refuse() -> None:
        raise ToolError("Sold out.")

    @tool
    def crash() -> None:
        raise RuntimeError("in pieces")

    @tool
    def not_today() -> None:
        raise MCPError(-31000, "Not today")

    @tool
    async def wait(ctx: Context) -> str:
        await ctx.report_progress(1)
        await gate.pass_through()
        return "through"

    @tool(scopes=["write"])
    def write() -> str:
        raise AssertionError("it ran")

    @tool(visible=lambda principal: False)
    def secret() -> str:
        raise AssertionError("it ran")


@pytest.fixture
def received() -> Iterator[list[Any]]:
    with receiving() as events:
        yield events


@pytest.fixture
async def endpoint(settings: Any, gate: Gate) -> AsyncIterator[Endpoint]:
    settings.MCP_TRANSPORT = OPEN
    served = bootstrap.endpoint()
    yield served
    gate.open.set()
    await served.pool.stop()


@pytest.fixture
async def client(endpoint: Endpoint) -> AnnsClient:
    """An open session of Ann, of whose opening nobody heard."""
    client = AnnsClient(endpoint)
    await client.open()
    return client
