"""A FastMCP 4 server, named in SERVER, is served as it is."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from fastmcp import Context, FastMCP
from fastmcp.server.dependencies import get_context

from mcp_transport.checks import check_settings
from tests.support.calls import call, failure, listed, opened, result_of, text_of

pytestmark = pytest.mark.blocks_loop("FastMCP imports beartype when its tools are listed for the first time")


def build() -> FastMCP[Any]:
    server: FastMCP[Any] = FastMCP("fast", version="4", instructions="Be quick.")

    @server.tool
    async def double(number: int, ctx: Context) -> int:
        """Double a number."""
        await ctx.report_progress(1, 1)
        return number * 2

    @server.tool
    def fail() -> None:
        raise ValueError("no")

    @server.tool
    async def ask(ctx: Context) -> str:
        answer = await ctx.elicit("Name?", response_type=str)
        return f"{answer.action} {getattr(answer, 'data', None)}"

    @server.tool
    def request() -> str:
        return str(get_context().request_id)

    @server.resource("fast://{name}")
    def thing(name: str) -> str:
        return f"a {name}"

    @server.prompt
    def praise(thing: str) -> str:
        return f"Praise {thing}."

    return server


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch, settings: Any, serve: Any) -> Any:
    module = types.ModuleType("a_projects_fast_server")
    module.server = build()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings.MCP_TRANSPORT = {"SERVER": f"{module.__name__}.server"}
    return serve


async def test_tool_is_listed_and_called(fast: Any) -> None:
    described = await listed(fast(), "tools", "double")
    assert described["description"] == "Double a number."
    assert described["inputSchema"]["required"] == ["number"]
    assert (await call(fast(), "double", {"number": 21}))["structuredContent"] == {"result": 42}
    assert "no" in await failure(fast(), "fail")
    assert (await call(fast(), "request", id="r-7"))["content"][0]["text"] == "r-7"


async def test_server_describes_itself(fast: Any) -> None:
    discovered = await result_of(fast(), "server/discover")
    info = discovered["_meta"]["io.modelcontextprotocol/serverInfo"]
    assert (info["name"], info["version"], discovered["instructions"]) == ("fast", "4", "Be quick.")


async def test_resource_and_prompt_are_served(fast: Any) -> None:
    [content] = (await result_of(fast(), "resources/read", {"uri": "fast://mug"}))["contents"]
    assert content["text"] == "a mug"
    [message] = (await result_of(fast(), "prompts/get", {"name": "praise", "arguments": {"thing": "tea"}}))[
        "messages"
    ]
    assert message["content"]["text"] == "Praise tea."


async def test_tool_reports_and_asks_in_a_session(fast: Any) -> None:
    client = await opened(fast())
    progress, answer = await (await client.call("double", {"number": 1})).messages()
    assert progress["method"] == "notifications/progress"
    assert answer["result"]["structuredContent"] == {"result": 2}

    asking = await client.call("ask")
    question = await asking.message()
    assert question["method"] == "elicitation/create"
    await client.reply(question["id"], {"action": "accept", "content": {"value": "Ann"}})
    assert (await asking.message())["result"]["content"][0]["text"] == "accept Ann"
    assert text_of(await client.call("request", id=77)) == "77"


def test_checks_accept_it(fast: Any) -> None:
    assert list(check_settings()) == []
