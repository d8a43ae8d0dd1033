"""SERVER: without it the apps' declarations are served, with it a server of the SDK or of FastMCP 4 as it is."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from fastmcp import Context, FastMCP
from fastmcp.server.dependencies import get_context

from mcp_transport import bootstrap, server
from mcp_transport.checks import check_settings
from mcp_transport.kernel.fast_path.path import FastPath
from mcp_transport.kernel.sdk_path import SDKPath
from tests.support import mcp_servers as servers
from tests.support.calls import call, error_of, failure, listed, opened, result_of, text_of
from tests.support.project import Serve

pytestmark = pytest.mark.blocks_loop("FastMCP imports beartype when its tools are listed for the first time")

INFO = "io.modelcontextprotocol/serverInfo"


async def read(serve: Serve, uri: str) -> Any:
    [content] = (await result_of(serve(), "resources/read", {"uri": uri}))["contents"]
    return content["text"]


async def praised(serve: Serve) -> Any:
    result = await result_of(serve(), "prompts/get", {"name": "praise", "arguments": {"thing": "tea"}})
    return result["messages"][0]["content"]["text"]


async def test_server_without_setting_has_what_the_apps_declare(serve: Serve) -> None:
    assert "search_products" in server.declared.tools  # of mcpsite.shop, which is installed
    assert await listed(serve(), "tools", "search_products")


def test_server_that_cannot_be_imported_is_the_operators_fault(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "no.such.server"}
    expected = r"MCP_TRANSPORT\['SERVER'\] = 'no.such.server' cannot be imported"
    with pytest.raises(ImproperlyConfigured, match=expected):
        bootstrap.configured_server()


@pytest.mark.parametrize(
    ("name", "info"),
    [("high_level", {"name": "high", "version": "2"}), ("low_level", {"name": "low", "version": "3"})],
)
async def test_sdk_server_is_served_unchanged_in_both_eras(name: str, info: Any, settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = {"NAME": "not this", "SERVER": f"tests.support.mcp_servers.{name}"}
    servers.lives.clear()
    endpoint = serve()
    assert (await result_of(endpoint, "server/discover"))["_meta"][INFO] == info
    assert (await listed(endpoint, "tools", "where"))["inputSchema"]["required"] == ["thing"]
    ann = User(pk=7, username="ann")
    assert (await call(endpoint, "where", {"thing": "tea"}, user=ann))["content"][0]["text"] == "tea left True"
    answer = await (await opened(endpoint)).call("where", {"thing": "tea"})
    assert (await answer.text() if answer.stream else text_of(answer)) == "tea left False"
    assert servers.lives == ["entered"]
    await endpoint.pool.stop()
    assert servers.lives == ["entered", "left"]


async def test_sdk_servers_resources_and_prompts_are_served_and_unknown_methods_answered_as_it_would(
    settings: Any, serve: Serve
) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.high_level"}
    assert (await read(serve, "high://hours"), await praised(serve)) == ("9 to 5", "Praise tea.")
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.low_level"}
    assert (await error_of(serve(), "resources/list"))["code"] == -32601


# -- FastMCP -----------------------------------------------------------------------------------------


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
def fast(monkeypatch: pytest.MonkeyPatch, settings: Any, serve: Serve) -> Serve:
    module = types.ModuleType("a_projects_fast_server")
    monkeypatch.setattr(module, "server", build(), raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings.MCP_TRANSPORT = {"SERVER": f"{module.__name__}.server"}
    return serve


async def test_fastmcp_server_is_served_as_it_is(fast: Serve) -> None:
    discovered = await result_of(fast(), "server/discover")
    info = discovered["_meta"][INFO]
    assert (info["name"], info["version"], discovered["instructions"]) == ("fast", "4", "Be quick.")
    described = await listed(fast(), "tools", "double")
    assert (described["description"], described["inputSchema"]["required"]) == ("Double a number.", ["number"])
    assert (await call(fast(), "double", {"number": 21}))["structuredContent"] == {"result": 42}
    assert "no" in await failure(fast(), "fail")
    assert (await call(fast(), "request", id="r-7"))["content"][0]["text"] == "r-7"
    assert (await read(fast, "fast://mug"), await praised(fast)) == ("a mug", "Praise tea.")
    assert list(check_settings()) == []


async def test_fastmcp_tool_reports_and_asks_in_a_session(fast: Serve) -> None:
    client = await opened(fast())
    progress, answer = await (await client.call("double", {"number": 1})).messages()
    assert progress["method"] == "notifications/progress"
    assert answer["result"]["structuredContent"] == {"result": 2}
    pending = await client.call("ask")
    question = await pending.message()
    assert question["method"] == "elicitation/create"
    await client.reply(question["id"], {"action": "accept", "content": {"value": "Ann"}})
    assert await pending.text() == "accept Ann"
    assert text_of(await client.call("request", id=77)) == "77"


@pytest.mark.parametrize(
    ("options", "path"), [({}, FastPath), ({"FAST_PATH": True}, FastPath), ({"FAST_PATH": False}, SDKPath)]
)
async def test_the_fast_path_can_be_turned_off(
    serve: Serve, settings: Any, options: dict[str, Any], path: type
) -> None:
    settings.MCP_TRANSPORT = options
    for endpoint in (serve(), bootstrap.private_endpoint()):
        assert type(endpoint.kernel._path) is path
    assert await listed(serve(), "tools", "search_products")
