"""What 2026-07-28, and good manners, ask of answers: codes, order, ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel, conform
from mcp_transport.protocol.policy import Policy
from tests.support.client import SessionClient, send, send_sessionless
from tests.support.clock import FakeClock, settle
from tests.support.tools import KEYS

VERSIONS = ["2025-06-18", "2026-07-28"]


def endpoint_of(server: Any) -> Endpoint:
    policy, clock = Policy(), FakeClock()
    return Endpoint(Kernel(server), MemoryBackend(policy, clock.now), policy, keys=KEYS, clock=clock)


@pytest.fixture
async def server() -> MCPServer[Any]:
    guard = logging.NullHandler()  # keeps the SDK from configuring the root logger
    logging.getLogger().addHandler(guard)
    server: MCPServer[Any] = MCPServer("answers")
    logging.getLogger().removeHandler(guard)
    conform(server)
    return server


async def ask(server: Any, version: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Send one request in the revision's own way; return the last message of the answer."""
    endpoint = endpoint_of(server)
    try:
        if version == "2026-07-28":
            answer = await send_sessionless(endpoint, method, params)
        else:
            client = SessionClient(endpoint, version)
            await client.open()
            answer = await client.request(method, params)
        return answer.json if answer.stream is None else (await answer.messages())[-1]
    finally:
        await endpoint.stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("params", [{"name": "none"}, {"name": "greet"}, {"name": "greet", "arguments": {"b": "1"}}])
async def test_an_unknown_prompt_or_a_missing_argument_is_invalid_params(server, version, params):
    @server.prompt()
    def greet(a: str) -> str:
        """Greet."""
        return f"Hello {a}"

    assert (await ask(server, version, "prompts/get", params))["error"]["code"] == -32602
    good = {"name": "greet", "arguments": {"a": "Ann"}}
    assert "Hello Ann" in str((await ask(server, version, "prompts/get", good))["result"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
async def test_a_cursor_that_was_never_given_out_is_invalid_params(server, version, method):
    assert (await ask(server, version, method, {"cursor": "bogus"}))["error"]["code"] == -32602
    assert "result" in await ask(server, version, method, {"cursor": ""})


@pytest.mark.parametrize(
    ("code", "sent"), [(-32002, -32602), (-32042, -32603), (-32050, -32603), (-32021, -32021), (7, 7)]
)
async def test_a_code_that_2026_07_28_forbids_is_not_sent_there(server, code, sent):
    @server.tool()
    async def fail() -> str:
        """Fail with a code."""
        raise MCPError(code, "so it is")

    error = (await ask(server, "2026-07-28", "tools/call", {"name": "fail"}))["error"]
    assert (error["code"], error["message"]) == (sent, "so it is")
    assert (await ask(server, "2025-06-18", "tools/call", {"name": "fail"}))["error"]["code"] == code


@pytest.mark.parametrize("version", VERSIONS)
async def test_nothing_follows_the_answer(server, version):
    late = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    @server.tool()
    async def hasty(ctx: Context) -> str:
        """Leave a report behind that comes too late."""

        async def report() -> None:
            await late.wait()
            await ctx.report_progress(99)

        await ctx.report_progress(1)
        tasks.append(asyncio.ensure_future(report()))
        return "done"

    endpoint = endpoint_of(server)
    params = {"name": "hasty", "arguments": {}, "_meta": {"progressToken": "p"}}
    if version == "2026-07-28":
        answer = await send_sessionless(endpoint, "tools/call", params, meta={"progressToken": "p"})
    else:
        client = SessionClient(endpoint, version)
        await client.open()
        answer = await client.request("tools/call", params)
    await settle()
    late.set()
    await asyncio.wait(tasks)
    messages = await answer.messages()
    assert [message.get("method", "answer") for message in messages] == ["notifications/progress", "answer"]
    await endpoint.stop()


async def test_progress_that_does_not_increase_is_not_sent(server):
    @server.tool()
    async def back_and_forth(ctx: Context) -> str:
        """Report what goes back."""
        for value in (5, 3, 5, 6):
            await ctx.report_progress(value)
        return ""

    endpoint = endpoint_of(server)
    answer = await send_sessionless(endpoint, "tools/call", {"name": "back_and_forth"}, meta={"progressToken": 1})
    *reports, _ = await answer.messages()
    assert [message["params"]["progress"] for message in reports] == [5, 6]
    await endpoint.stop()


async def test_a_future_revision_is_told_what_is_spoken_before_its_headers_are_judged(server):
    endpoint = endpoint_of(server)
    meta = {"io.modelcontextprotocol/protocolVersion": "2027-01-01"}
    headers = {"mcp-protocol-version": "2027-01-01", "mcp-method": None}
    answer = await send_sessionless(endpoint, "tools/list", meta=meta, headers=headers)
    assert (answer.status, answer.error_code) == (400, -32022)
    assert answer.json["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2027-01-01"}
    await endpoint.stop()


async def test_a_method_nobody_serves_is_unknown_before_its_parameters_are_looked_at():
    endpoint = endpoint_of(Server("bare"))
    answer = await send_sessionless(endpoint, "prompts/get", {})
    assert (answer.status, answer.error_code) == (404, -32601)
    await endpoint.stop()


async def test_a_notification_with_an_envelope_needs_no_header(server):
    endpoint = endpoint_of(server)
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "_meta": meta}}
    assert (await send(endpoint, body=body)).status == 202
    await endpoint.stop()


@pytest.mark.parametrize(("header", "status"), [(None, 400), ("us", 400), ("eu", 200)])
async def test_parameter_headers_are_judged_for_a_server_that_only_lists_its_tools(header, status):
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    ran = []

    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        if params is None or not params.cursor:
            return ListToolsResult(tools=[], next_cursor="second")
        return ListToolsResult(tools=[Tool(name="low", input_schema=schema)])

    async def call_tool(ctx: Any, params: Any) -> CallToolResult:
        ran.append(params.name)
        return CallToolResult(content=[TextContent(type="text", text="ran")])

    endpoint = endpoint_of(Server("low", on_list_tools=list_tools, on_call_tool=call_tool))
    params = {"name": "low", "arguments": {"region": "eu"}}
    answer = await send_sessionless(endpoint, "tools/call", params, headers={"mcp-param-region": header})
    assert (answer.status, bool(ran)) == (status, status == 200)
    if status == 400:
        assert answer.error_code == -32020
    await endpoint.stop()
