"""Each provisional seam of the SDK is used once for real, so that an upgrade that moves one fails here by name."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.utilities.func_metadata import StrictJsonSchema, _inline_root_ref, func_metadata
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp.shared.dispatcher import DispatchContext
from mcp_types import ListToolsResult, NotificationParams, Tool
from pydantic import BaseModel

from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import (
    Exchange,
    Kernel,
    apply_spec_corrections,
    convert_context,
    output_schema,
)
from mcp_transport.kernel.events import ListenHandlers
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Notification, Request
from tests.support.kernel import Recorder, exchange, served


class Branch(BaseModel):
    """A model with a recursive schema."""

    branches: list[Branch] = []


def tree() -> Branch:
    """Return a root."""
    return Branch()


def test_exchange_has_what_a_dispatch_context_has() -> None:
    expected = {name for name in vars(DispatchContext) if not name.startswith("_")}
    expected |= {"send_raw_request", "notify"}
    assert expected <= {name for name in dir(Exchange) if not name.startswith("_")} | set(Exchange.__slots__)


def test_the_runner_is_built_and_closed_as_the_kernel_does_it() -> None:
    runner = inspect.signature(ServerRunner)
    assert [*runner.parameters][:3] == ["server", "connection", "lifespan_state"]
    assert "init_options" in runner.parameters
    assert [*inspect.signature(aclose_shielded).parameters] == ["connection"]


def test_the_schema_of_a_result_is_made_as_the_sdk_makes_that_of_what_it_reads() -> None:
    """By `_output_adapter`, `_inline_root_ref` and `StrictJsonSchema` of its function metadata."""

    metadata = func_metadata(tree)
    adapter = metadata._output_adapter(metadata.output_model)
    read = _inline_root_ref(adapter.json_schema(schema_generator=StrictJsonSchema))
    assert read == metadata.output_schema
    assert (output_schema(metadata) or {})["type"] == "object"


def test_the_span_of_a_message_is_that_of_the_sdks_middleware() -> None:
    assert [*inspect.signature(OpenTelemetryMiddleware.__call__).parameters] == ["self", "ctx", "call_next"]


async def test_a_call_gets_context_progress_questions_and_its_request() -> None:
    server: MCPServer[Any] = MCPServer("seams")
    observed: dict[str, Any] = {}

    class Own(Context[Any, Any]):
        """A custom context class."""

    @server.tool()
    async def everything(ctx: Context) -> str:
        """Use each seam."""
        own = convert_context(ctx, Own)
        observed.update(caller=own.request_context.request, lifespan=own.request_context.lifespan_context)
        await own.report_progress(1, 2)
        await own.close_sse_stream()
        await ctx.request_context.session.send_tool_list_changed()
        return "done"

    channel = Recorder()
    running = exchange(channel)
    outcome = await served(Kernel(server), running, Request(7, "tools/call", {"name": "everything"}))
    assert outcome.result is not None and outcome.result["content"][0]["text"] == "done"
    assert channel.sent == [("notifications/progress", {"progressToken": "p", "progress": 1, "total": 2})]
    assert channel.emitted == ["notifications/tools/list_changed"]
    assert channel.closed
    assert observed["caller"] is running.caller and observed["lifespan"] == {"k": 1}
    assert observed["caller"].headers["user-agent"] == "x" and observed["caller"].user == "ann"


async def test_initialize_declares_what_the_transport_delivers() -> None:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    outcome = await Kernel(MCPServer("seams")).initialize(exchange(Recorder()), params)
    assert outcome.result is not None
    assert outcome.result["protocolVersion"] == "2025-06-18"
    assert outcome.result["capabilities"]["tools"] == {"listChanged": True}


async def test_a_notification_is_heard_by_a_handler_a_middleware_or_the_log(fast: bool) -> None:
    server: MCPServer[Any] = MCPServer("seams")
    apply_spec_corrections(server)
    kernel, initialized = Kernel(server), Notification("notifications/initialized", None)
    assert kernel.has_listener(initialized) is not fast  # only the fast path drops what has no effect
    assert kernel.has_listener(Notification("notifications/initialized", {"odd": True}))
    received: list[str] = []

    async def handler(ctx: Any, params: Any) -> None:
        received.append(ctx.method)

    async def middleware(ctx: Any, call_next: Any) -> Any:
        return await call_next(ctx)

    kernel.server.add_notification_handler("notifications/initialized", NotificationParams, handler)
    assert kernel.has_listener(initialized)
    assert kernel.has_listener(Notification("notifications/roots/list_changed", None)) is not fast
    await kernel.notify(exchange(Recorder()), initialized)
    assert received == ["notifications/initialized"]
    kernel.server.middleware.append(middleware)
    assert kernel.has_listener(Notification("notifications/roots/list_changed", None))


async def test_errors_say_what_was_wrong_and_never_what_was_sent() -> None:
    server: MCPServer[Any] = MCPServer("seams")
    apply_spec_corrections(server)
    kernel = Kernel(server)
    outcome = await served(kernel, exchange(Recorder()), Request(7, "tools/call", {"name": {"secret": 1}}))
    assert outcome.error is not None and outcome.malformed and outcome.error["code"] == -32602
    assert "name" in outcome.error["message"] and "secret" not in outcome.error["message"]
    outcome = await served(kernel, exchange(Recorder()), Request(7, "no/such", None))
    assert outcome.error is not None and outcome.error["code"] == -32601
    outcome = await served(kernel, exchange(Recorder()), Request(7, "tools/call", {"name": "none"}))
    assert outcome.error is not None and outcome.error["code"] == -32602


async def test_a_question_needs_the_capability_the_client_declared() -> None:
    running = exchange(Recorder(), elicitation={})
    assert (await running.send_raw_request("elicitation/create", {}))["action"] == "accept"
    with pytest.raises(Exception, match="did not declare the sampling capability"):
        await running.send_raw_request("sampling/createMessage", {})


async def test_the_envelope_is_checked_by_the_sdk() -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
    }
    request = Request(1, "tools/list", {"_meta": meta})
    lines = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")]
    kernel = Kernel(MCPServer("seams"))
    client = kernel.open_envelope(request, Headers(lines), ["2026-07-28"])
    assert client.protocol_version == "2026-07-28" and client.capabilities == {"roots": {}}
    with pytest.raises(ProtocolError) as refused:
        kernel.open_envelope(request, Headers(lines[:1]), ["2026-07-28"])
    assert (refused.value.status, refused.value.code) == (400, -32020)
    with pytest.raises(ProtocolError) as refused:
        kernel.open_envelope(request, Headers(lines), ["2027-01-01"])
    assert refused.value.code == -32022 and refused.value.data["supported"] == ["2027-01-01"]


async def test_announcements_of_an_mcpserver_reach_the_bus() -> None:
    server: MCPServer[Any] = MCPServer("seams")
    kernel = Kernel(server)
    messages: list[Broadcast] = []

    async def publish(message: Broadcast) -> None:
        messages.append(message)

    kernel.bus.publish_to = publish

    @server.tool()
    async def change(ctx: Context) -> str:
        """Publish changes."""
        await ctx.notify_tools_changed()
        await ctx.notify_resource_updated("test://a")
        return ""

    await served(kernel, exchange(Recorder()), Request(7, "tools/call", {"name": "change"}))
    assert messages == [
        Broadcast("notifications/tools/list_changed"),
        Broadcast("notifications/resources/updated", "test://a"),
    ]
    entry = kernel.server.get_request_handler("subscriptions/listen")
    assert entry is not None and isinstance(entry.handler, ListenHandlers)


async def test_the_lifespan_is_entered_and_left_in_one_task() -> None:
    tasks: list[Any] = []

    @asynccontextmanager
    async def lifespan(server: Server[Any]) -> Any:
        tasks.append(asyncio.current_task())
        yield "state"
        tasks.append(asyncio.current_task())

    kernel = Kernel(Server("seams", lifespan=lifespan))
    entered = await kernel.enter_lifespan(asyncio.get_running_loop().create_task)
    assert entered.state == "state"
    await entered.close()
    assert len(tasks) == 2 and tasks[0] is tasks[1] is not asyncio.current_task()


async def test_a_lifespan_that_fails_says_so() -> None:
    def connect() -> None:
        raise RuntimeError("no database")

    @asynccontextmanager
    async def lifespan(server: Server[Any]) -> Any:
        connect()
        yield

    with pytest.raises(RuntimeError, match="no database"):
        await Kernel(Server("seams", lifespan=lifespan)).enter_lifespan(asyncio.get_running_loop().create_task)


async def test_a_lowlevel_server_is_served_as_it_is() -> None:
    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name="low", input_schema={"type": "object"})])

    server = Server("low", on_list_tools=list_tools)
    outcome = await served(Kernel(server), exchange(Recorder()), Request(7, "tools/list", None))
    assert outcome.result is not None and outcome.result["tools"][0]["name"] == "low"
    with pytest.raises(TypeError, match="expected an MCPServer"):
        Kernel(object())


@pytest.mark.parametrize(
    ("version", "code"), [("2025-03-26", -32002), ("2025-11-25", -32002), ("2026-07-28", -32602)]
)
async def test_a_missing_resource_has_the_code_of_its_era(version: str, code: int) -> None:
    server: MCPServer[Any] = MCPServer("seams")
    apply_spec_corrections(server)
    params: dict[str, Any] = {"uri": "test://none"}
    if version == "2026-07-28":
        prefix = "io.modelcontextprotocol/"
        params["_meta"] = {f"{prefix}protocolVersion": version, f"{prefix}clientCapabilities": {}}
    outcome = await served(Kernel(server), exchange(Recorder(), version), Request(7, "resources/read", params))
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.error["data"]) == (code, {"uri": "test://none"})
