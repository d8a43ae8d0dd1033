"""2026-07-28: every POST stands alone; envelope, codes and statuses; leaving is cancelling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import apply_spec_corrections
from tests.support.calls import opened
from tests.support.client import PROTOCOL_VERSION, Answer, later, send, send_sessionless, silent, text_of
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import endpoint_of
from tests.support.stores import left_behind
from tests.support.tools import Gate

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
VERSION = "mcp-protocol-version"
both_eras = pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


# -- statuses and codes -------------------------------------------------------------------------------


async def test_results_say_that_they_are_complete_and_the_session_header_is_ignored(endpoint: Endpoint) -> None:
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers={"mcp-session-id": "unknown"})
    assert (answer.status, text_of(answer.json), answer.json["result"]["resultType"]) == (200, "3", "complete")
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize(
    "method", ["no/such", "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"]
)
async def test_a_method_that_is_not_there_is_404(endpoint: Endpoint, method: str) -> None:
    answer = await send_sessionless(endpoint, method, {"uri": "test://watched", "level": "info"})
    assert (answer.status, answer.error_code, answer.json["id"]) == (404, -32601, 1)


@pytest.mark.parametrize(
    ("headers", "meta", "code"),
    [
        ({}, {PROTOCOL_VERSION: "v999"}, -32020),
        ({VERSION: "v999"}, {PROTOCOL_VERSION: "v999"}, -32022),
        ({VERSION: "2025-11-25"}, {PROTOCOL_VERSION: "2025-11-25"}, -32022),
        ({}, {CAPABILITIES: None}, -32602),
        ({}, {CAPABILITIES: 5}, -32602),
    ],
)
async def test_a_bad_envelope_is_400(
    endpoint: Endpoint, gate: Gate, headers: dict[str, str | None], meta: dict[str, Any], code: int
) -> None:
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers=headers, meta=meta)
    assert (answer.status, answer.error_code, answer.json["id"]) == (400, code, 1)
    assert gate.runs == 0


async def test_a_future_revision_is_told_what_is_spoken_before_its_headers_are_judged(endpoint: Endpoint) -> None:
    headers = {VERSION: "2030-01-01", "mcp-method": None}
    answer = await send_sessionless(endpoint, "tools/list", headers=headers, meta={PROTOCOL_VERSION: "2030-01-01"})
    assert (answer.status, answer.error_code) == (400, -32022)
    assert answer.json["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2030-01-01"}


async def test_a_missing_client_capability_is_400(endpoint: Endpoint) -> None:
    answer = await send_sessionless(endpoint, "tools/call", tool("refuse", code=-32021))
    assert (answer.status, answer.error_code) == (400, -32021)
    assert answer.json["error"]["data"] == {"requiredCapabilities": {"sampling": {}}}


async def test_an_unknown_tool_is_an_ordinary_error(endpoint: Endpoint) -> None:
    answer = await send_sessionless(endpoint, "tools/call", tool("nothing"))
    assert answer.status == 200
    assert b"nothing" in answer.body


async def test_parameters_without_the_methods_shape_are_400(endpoint: Endpoint) -> None:
    answer = await send_sessionless(endpoint, "tools/call", {"name": "add", "arguments": [1]})
    assert (answer.status, answer.error_code) == (400, -32602)


@pytest.mark.parametrize(
    ("headers", "meta"), [({VERSION: "2026-07-28"}, {}), ({}, {"_meta": {PROTOCOL_VERSION: "2026-07-28"}})]
)
async def test_a_notification_is_accepted_without_a_body(
    endpoint: Endpoint, headers: dict[str, str | None], meta: dict[str, Any]
) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, **meta}}
    answer = await send(endpoint, body=message, headers=headers)
    assert (answer.status, answer.body, "content-type" in answer.headers) == (202, b"", False)


# -- servers of other kinds ---------------------------------------------------------------------------


Serve = Callable[[Any], Endpoint]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a server of a test's own."""
    built: list[Endpoint] = []

    def build(server: Any) -> Endpoint:
        built.append(endpoint_of(server, FakeClock()))
        return built[-1]

    yield build
    for endpoint in built:
        await endpoint.pool.stop()


@pytest.fixture
def server() -> MCPServer[Any]:
    guard = logging.NullHandler()  # keeps the SDK from configuring the root logger
    logging.getLogger().addHandler(guard)
    server: MCPServer[Any] = MCPServer("answers")
    logging.getLogger().removeHandler(guard)
    apply_spec_corrections(server)
    return server


async def ask(endpoint: Endpoint, version: str, method: str, params: dict[str, Any]) -> Answer:
    """Send one request in the revision's own way."""
    if version == "2026-07-28":
        return await send_sessionless(endpoint, method, params, meta=params.get("_meta"))
    return await (await opened(endpoint, version=version)).request(method, params)


@both_eras
@pytest.mark.parametrize("params", [{"name": "none"}, {"name": "greet"}, {"name": "greet", "arguments": {"b": "1"}}])
async def test_an_unknown_prompt_or_a_missing_argument_is_invalid_params(
    serve: Serve, server: MCPServer[Any], version: str, params: dict[str, Any]
) -> None:
    @server.prompt()
    def greet(a: str) -> str:
        """Greet."""
        return f"Hello {a}"

    endpoint = serve(server)
    assert (await ask(endpoint, version, "prompts/get", params)).error_code == -32602
    good = {"name": "greet", "arguments": {"a": "Ann"}}
    assert "Hello Ann" in str((await ask(endpoint, version, "prompts/get", good)).json["result"])


@both_eras
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
async def test_a_cursor_that_was_never_given_out_is_invalid_params(
    serve: Serve, server: MCPServer[Any], version: str, method: str
) -> None:
    endpoint = serve(server)
    assert (await ask(endpoint, version, method, {"cursor": "bogus"})).error_code == -32602
    assert "result" in (await ask(endpoint, version, method, {"cursor": ""})).json


@pytest.mark.parametrize(
    ("code", "sent"), [(-32002, -32602), (-32042, -32603), (-32050, -32603), (-32021, -32021), (7, 7)]
)
async def test_a_code_that_2026_07_28_forbids_is_not_sent_there(
    serve: Serve, server: MCPServer[Any], code: int, sent: int
) -> None:
    @server.tool()
    async def fail() -> str:
        """Fail with a code."""
        raise MCPError(code, "so it is")

    endpoint = serve(server)
    error = (await ask(endpoint, "2026-07-28", "tools/call", {"name": "fail"})).json["error"]
    assert (error["code"], error["message"]) == (sent, "so it is")
    assert (await ask(endpoint, "2025-06-18", "tools/call", {"name": "fail"})).error_code == code


@both_eras
async def test_nothing_follows_the_answer_and_progress_only_increases(
    serve: Serve, server: MCPServer[Any], version: str
) -> None:
    late = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    @server.tool()
    async def hasty(ctx: Context) -> str:
        """Report what goes back, and leave a report behind that comes too late."""

        async def report() -> None:
            await late.wait()
            await ctx.report_progress(99)

        for value in (5, 3, 5, 6):
            await ctx.report_progress(value)
        tasks.append(asyncio.ensure_future(report()))
        return "done"

    params = {"name": "hasty", "arguments": {}, "_meta": {"progressToken": "p"}}
    answer = await ask(serve(server), version, "tools/call", params)
    await settle()
    late.set()
    await asyncio.wait(tasks)
    *reports, last = await answer.messages()
    assert [message["params"]["progress"] for message in reports] == [5, 6]
    assert "result" in last


async def test_a_method_nobody_serves_is_unknown_before_its_parameters_are_looked_at(serve: Serve) -> None:
    answer = await send_sessionless(serve(Server("bare")), "prompts/get", {})
    assert (answer.status, answer.error_code) == (404, -32601)


@pytest.mark.parametrize(("header", "status"), [(None, 400), ("us", 400), ("eu", 200)])
async def test_parameter_headers_are_judged_for_a_server_that_only_lists_its_tools(
    serve: Serve, header: str | None, status: int
) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    ran = []

    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        if params is None or not params.cursor:
            return ListToolsResult(tools=[], next_cursor="second")
        return ListToolsResult(tools=[Tool(name="low", input_schema=schema)])

    async def call_tool(ctx: Any, params: Any) -> CallToolResult:
        ran.append(params.name)
        return CallToolResult(content=[TextContent(type="text", text="ran")])

    endpoint = serve(Server("low", on_list_tools=list_tools, on_call_tool=call_tool))
    params = {"name": "low", "arguments": {"region": "eu"}}
    answer = await send_sessionless(endpoint, "tools/call", params, headers={"mcp-param-region": header})
    assert (answer.status, bool(ran)) == (status, status == 200)
    assert answer.json.get("error", {}).get("code") == (-32020 if status == 400 else None)


# -- leaving is cancelling, and silence -----------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the answer began", "beside a silent stream", "after a report"])
async def test_leaving_cancels_the_handler(endpoint: Endpoint, clock: FakeClock, gate: Gate, when: str) -> None:
    name = tool("count", steps=1) if when == "after a report" else tool("blocked")
    task = asyncio.ensure_future(send_sessionless(endpoint, "tools/call", name, meta={"progressToken": 1}))
    await gate.wait(gate.entered)
    if when == "before the answer began":
        task.cancel()
    else:
        await clock.advance(1.0)
        answer = await task
        if when == "after a report":
            assert (await answer.message())["params"]["progress"] == 1
        answer.close()
    await gate.wait(gate.left)
    assert gate.cancelled
    assert await left_behind(endpoint) == {}


async def test_a_silent_stream_is_kept_alive_from_the_start_and_has_no_event_ids(
    endpoint: Endpoint, clock: FakeClock, gate: Gate
) -> None:
    answer = await silent(clock, gate.entered, send_sessionless(endpoint, "tools/call", tool("blocked")))
    opening = await answer.event()
    assert (opening.comment, opening.data) == ("keep-alive", None), "something leaves at once"
    for _ in range(3):
        frame = await later(clock, 15, answer.event())
        assert (frame.comment, frame.data) == ("keep-alive", None)
    gate.open.set()
    last = await answer.event()
    assert last.id is None, "there is no resumption, thus no event id"
    assert text_of(last.message) == "through"
    assert await answer.frame() is None
