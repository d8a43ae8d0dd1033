"""Lost responses of servers that store none: no call runs twice unless it may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport.client import Client, ResultUnknown
from tests.client.servers import Build, Served, fast, sdk, serving
from tests.support.http.losing_proxy import LosingProxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.blocks_loop("FastMCP imports a part of itself with its first request"),
]

LIMITS: Any = {"deadline": 20.0, "attempt_timeout": 5.0}


@pytest.fixture(params=[sdk, fast], ids=["sdk", "fastmcp"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    build: Build = request.param
    async with serving(build) as served:
        yield served


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_tool_that_may_run_once_is_not_called_again(served: Served, mode: str) -> None:
    proxy = LosingProxy(served.port, losses=1)
    async with proxy.serve() as url, Client([url, served.url], mode=mode, **LIMITS) as client:
        with pytest.raises(ResultUnknown, match="may have run") as caught:
            await client.call_tool("act", {"text": "a"})
        assert not caught.value.retryable
        assert served.runs == ["act"]
        await client.call_tool("act", {"text": "b"})
        assert served.runs == ["act", "act"], "the client goes on"


@pytest.mark.parametrize("tool", ["look", "put"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_tool_that_says_it_may_is_called_again(served: Served, mode: str, tool: str) -> None:
    proxy = LosingProxy(served.port, losses=1)
    async with proxy.serve() as url, Client([url, served.url], mode=mode, **LIMITS) as client:
        result = await client.call_tool(tool, {"text": "a"})
        assert result.structured_content == {"result": "a"}
        assert served.runs == [tool, tool]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_requests_that_change_nothing_are_sent_again(served: Served, mode: str) -> None:
    for marker in (b'"initialize"', b'"server/discover"', b'"notifications/initialized"', b'"tools/list"'):
        proxy = LosingProxy(served.port, losses=1, marker=marker)
        async with proxy.serve() as url, Client([url, served.url], mode=mode, **LIMITS) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"act", "look", "put"}


async def test_a_tool_that_nobody_knows_is_not_called_again(served: Served) -> None:
    proxy = LosingProxy(served.port, losses=1)
    async with proxy.serve() as url, Client([url, served.url], **LIMITS) as client:
        with pytest.raises(ResultUnknown):
            await client.call_tool("unheard of", {})


async def test_every_answer_lost_ends_with_an_error(served: Served) -> None:
    proxy = LosingProxy(served.port, losses=10**9)
    async with proxy.serve() as url, Client(url, **(LIMITS | {"deadline": 2.0})) as client:
        with pytest.raises(Exception, match="no endpoint answered within 2 s"):
            await client.call_tool("look", {"text": "a"})
