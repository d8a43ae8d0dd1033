"""Generated messages have the same outcome on the fast path and the SDK's own way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
from fastmcp import FastMCP
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListToolsResult,
    NotificationParams,
    TextContent,
    Tool,
)

from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import Kernel, apply_spec_corrections, register_session_handlers
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Notification, Outcome, Request
from mcp_transport.protocol.versions import REVISIONS
from tests.support.kernel import ON_THE_FAST_PATH, Recorder, exchange, served
from tests.support.plain_calls import META, Row, envelope

pytestmark = ON_THE_FAST_PATH

ELICITATION = ElicitRequest(
    params=ElicitRequestFormParams(message="?", requested_schema={"type": "object", "properties": {}})
)
RETURNED: list[Any] = [
    *(None, 5, -(2**63) - 1, 2**64, 0.5, float("nan"), float("inf"), True, "", "größe", "\ud800", b"\xff"),
    *([], [1, "a", None], {}, {"a": {"b": [1]}}, {1: 2}, object(), TextContent(type="text", text="t")),
    CallToolResult(content=[], structured_content={"a": 1}),
    CallToolResult(content=[TextContent(type="text", text="\ud800")], is_error=True),
    InputRequiredResult(input_requests={"q": ELICITATION}),
]
RAISED: list[BaseException] = [ToolError("no"), ValueError("secret"), RuntimeError("\ud800"), SystemExit(1)]


def mcpserver() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("both", version="1")

    @server.tool(structured_output=False)
    async def returns(which: int, ctx: Context) -> Any:
        return RETURNED[which % len(RETURNED)]

    @server.tool()
    def declares(which: int) -> int:
        value: Any = RETURNED[which % len(RETURNED)]
        return value  # type: ignore[no-any-return]

    @server.tool()
    async def says(text: str = "a") -> str:
        return text

    @server.tool()
    async def raises(which: int) -> Row:
        raise RAISED[which % len(RAISED)]

    @server.tool()
    async def reports(ctx: Context, steps: list[float] | None = None, question: bool = False) -> dict[str, Any]:
        for step in steps or ():
            await ctx.report_progress(step)
        request = ctx.request_context
        return {"meta": request.meta, "params": dict(request.params or {}), "id": ctx.request_id}

    @server.prompt()
    async def greet(name: str, number: int = 0) -> str:
        return name * number

    @server.resource("both://{number}")
    async def numbered(number: int) -> str:
        return str(number)

    register_session_handlers(server)
    apply_spec_corrections(server)
    return server


def with_middleware() -> MCPServer[Any]:
    server = mcpserver()

    async def middleware(ctx: Any, call_next: Any) -> Any:
        return await call_next(ctx)

    server._lowlevel_server.middleware.append(middleware)
    return server


def lowlevel() -> Server[Any]:
    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name="says", input_schema={"type": "object"})])

    async def call_tool(ctx: Any, params: Any) -> CallToolResult:
        return CallToolResult(
            content=[TextContent(type="text", text=params.name)], structured_content=params.arguments
        )

    return Server("low", on_list_tools=list_tools, on_call_tool=call_tool)


def fastmcp() -> FastMCP[Any]:
    server: FastMCP[Any] = FastMCP("fast")

    @server.tool
    async def says(text: str = "a") -> str:
        return text

    return server


SERVERS: dict[str, Callable[[], Any]] = {
    "MCPServer": mcpserver,
    "with middleware": with_middleware,
    "low-level": lowlevel,
    "FastMCP": fastmcp,
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([2**64, "\ud800", "[1]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["returns", "declares", "says", "raises", "reports", "greet", "none", ""]) | JSON
ARGUMENTS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "which": st.integers(0, 30) | JSON,
        "text": st.text() | JSON,
        "steps": JSON | st.lists(st.floats(), max_size=3),
        "name": st.text(),
        "number": JSON,
        "more": JSON,
    },
)
TOKENS = st.sampled_from([0, "", None, "t", 2**70, True, 0.5, [], {}, "\ud800"]) | JSON
METAS = st.sampled_from(META) | st.fixed_dictionaries(
    {}, optional={"progressToken": TOKENS, "traceparent": st.text() | JSON, "io.modelcontextprotocol/logLevel": JSON}
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES,
        "arguments": ARGUMENTS,
        "uri": st.sampled_from(["both://1", "both://x", "none://", ""]) | JSON,
        "cursor": JSON,
        "ref": JSON | st.just({"type": "ref/prompt", "name": "greet"}),
        "argument": JSON | st.just({"name": "name", "value": ""}),
        "requestState": JSON,
        "task": JSON,
        "inputResponses": JSON,
        "level": st.sampled_from(["debug", "loud"]) | JSON,
        "extra": JSON,
    },
)
METHODS = st.sampled_from(
    [
        *(["tools/call"] * 8),
        *(
            "tools/list",
            "ping",
            "prompts/get",
            "prompts/list",
            "resources/read",
            "resources/list",
            "resources/subscribe",
        ),
        *("completion/complete", "logging/setLevel", "server/discover", "initialize", "tasks/get", "acme/do", ""),
    ]
)


@cache
def kernels(name: str) -> tuple[Kernel, Kernel]:
    """Return a kernel on the fast path and one without it, each with a server of its own."""
    return Kernel(SERVERS[name](), fast=True), Kernel(SERVERS[name](), fast=False)


def plain(outcome: Outcome) -> str:
    """Return the text of an outcome without its sealed state, which is different each time; NaN equals NaN."""
    result = {name: value for name, value in (outcome.result or {}).items() if name != "requestState"}
    return repr(ordered([result, outcome.error, outcome.malformed]))


def ordered(value: Any) -> Any:
    """Sort the members of objects."""
    if isinstance(value, Mapping):
        return sorted(((repr(name), ordered(item)) for name, item in value.items()), key=lambda pair: pair[0])
    return [ordered(item) for item in value] if isinstance(value, list | tuple) else value


async def observed(kernel: Kernel, method: str, params: Any, version: str) -> Any:
    """Serve a request, and return its outcome and the messages to the client."""
    channel = Recorder()
    request, running = Request(7, method, params), exchange(channel, version, elicitation={})
    running.meta, running.progress_token = request.meta, request.progress_token
    outcome = await served(kernel, running, request)
    return plain(outcome), repr(ordered(vars(channel)))


SLOW_LOG = pytest.mark.blocks_loop("FastMCP renders the traceback of each error")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW_LOG if name == "FastMCP" else ()) for name in SERVERS]
)
@settings(max_examples=100)
@given(METHODS, st.none() | PARAMS, METAS | st.just(...), st.sampled_from([*REVISIONS]))
@example("tools/call", {"name": "says", "arguments": {"text": "\ud800"}}, {}, "2026-07-28")
@example("tools/call", {"name": "says", "arguments": None}, {"progressToken": 0}, "2025-11-25")
def test_requests_have_the_same_outcome(name: str, method: str, params: Any, meta: Any, version: str) -> None:
    if meta is not ...:
        params = {**(params or {}), "_meta": envelope(version, **meta) if isinstance(meta, dict) else meta}
    fast, own = kernels(name)

    async def both() -> None:
        assert await observed(fast, method, params, version) == await observed(own, method, params, version)

    asyncio.run(both())


@pytest.mark.parametrize("which", range(len(RETURNED)))
@pytest.mark.parametrize("tool", ["returns", "declares"])
@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_returned_values_have_the_same_result(tool: str, which: int, version: str) -> None:
    fast, own = kernels("MCPServer")
    params = {"name": tool, "arguments": {"which": which}, "_meta": envelope(version)}
    assert await observed(fast, "tools/call", params, version) == await observed(own, "tools/call", params, version)


@given(PARAMS | JSON, st.sampled_from([*REVISIONS]))
def test_initialize_has_the_same_outcome(params: Any, version: str) -> None:
    whole: dict[str, Any] = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "c", "version": "1"},
    }
    changed = {**whole, **params} if isinstance(params, dict) else {**whole, "capabilities": params}

    async def both() -> None:
        fast, own = kernels("MCPServer")
        outcomes = [await kernel.initialize(exchange(Recorder()), changed) for kernel in (fast, fast, own)]
        assert len({plain(outcome) for outcome in outcomes}) == 1

    asyncio.run(both())


@example({"_meta": {"progressToken": 2**70, "io.modelcontextprotocol/logLevel": "\ud800"}})
@given(st.none() | METAS.map(lambda meta: {"_meta": meta}) | PARAMS)
def test_notifications_reach_the_handler_alike(params: Any) -> None:
    received: list[Any] = []

    async def handler(ctx: Any, params: Any) -> None:
        received.append(params)

    async def both() -> None:
        for fast in (True, False):
            kernel = Kernel(Server("heard"), fast=fast)
            method = "notifications/roots/list_changed"
            kernel.server.add_notification_handler(method, NotificationParams, handler)
            await kernel.notify(exchange(Recorder()), Notification(method, params))

    asyncio.run(both())
    half = len(received) // 2
    assert repr(received[:half]) == repr(received[half:])


@given(
    st.dictionaries(st.sampled_from(["mcp-protocol-version", "mcp-method", "mcp-name"]), NAMES.map(str)), NAMES, METAS
)
def test_envelopes_are_judged_alike(lines: Mapping[str, str], name: Any, meta: Any) -> None:
    whole = envelope("2026-07-28", **meta) if isinstance(meta, dict) else meta
    request = Request(1, "tools/call", {"name": name, "_meta": whole})
    right = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": str(name)}

    def verdict(kernel: Kernel, headers: Mapping[str, str]) -> str:
        try:
            return repr(kernel.open_envelope(request, Headers([*headers.items()]), ["2026-07-28"]))
        except ProtocolError as error:
            return repr((error.status, error.code, error.message, error.data))

    fast, own = kernels("MCPServer")
    for headers in (right, {**right, **lines}, lines):
        assert verdict(fast, headers) == verdict(own, headers)
