"""The server that the engine's tests call: every tool is steered through a `Gate`."""

import asyncio
import logging
from collections.abc import Callable
from types import CodeType
from typing import Any

from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
)

from mcp_transport.context import Context as OurContext
from mcp_transport.kernel import convert_context, register_session_handlers

KEYS = (b"first-key-of-the-ring-for-tests!",)
DETAIL = "secret detail of a handler"
NAME_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}


class Gate:
    """Lets a test and a tool wait for each other; every wait is bounded."""

    def __init__(self) -> None:
        self.entered, self.open, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.orders: asyncio.Queue[bool] = asyncio.Queue()
        self.cancelled = self.fails = False
        self.runs = 0
        self.written = 0
        """How many notifications a handler got rid of."""

    async def wait(self, event: asyncio.Event) -> None:
        async with asyncio.timeout(60):
            await event.wait()

    async def pass_through(self) -> None:
        """Wait, inside a tool, until the test opens the gate."""
        self.entered.set()
        try:
            await self.open.wait()
            if self.fails:
                raise RuntimeError(DETAIL)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.left.set()


def _binding(ctx: Any) -> str | None:
    """Return the binding of the principal of a request."""
    return ctx.request.principal.binding or None


_made: dict[CodeType, Tool] = {}


def _make_models_once(server: MCPServer[Any]) -> None:
    """Make the models of each tool once: the SDK takes 2 ms for a tool, and each test declares twenty.

    It is no subclass, which would go the SDK's whole way with each call.
    """
    add_tool, tools = server.add_tool, server._tool_manager._tools  # private: no other way takes a tool that is made

    def add(fn: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        known = _made.get(fn.__code__)
        if known is None:
            add_tool(fn, *arguments, **options)
            known = _made[fn.__code__] = _copy(tools[next(reversed(tools))], None)
        tools[known.name] = _copy(known, fn)

    setattr(server, "add_tool", add)  # noqa: B010 (mypy lets nobody assign to a method)


def _copy(tool: Tool, fn: Callable[..., Any] | None) -> Tool:
    return tool.model_copy(update={"fn": fn, "fn_metadata": tool.fn_metadata.model_copy()})


def build_tools(gate: Gate, **options: Any) -> MCPServer[Any]:
    """Build a server whose tools a test can steer through `gate`."""
    guard = logging.NullHandler()
    logging.getLogger().addHandler(guard)
    sealing = RequestStateSecurity(keys=list(KEYS), bind_principal=_binding)
    server: MCPServer[Any] = MCPServer("engine-tests", version="1", request_state_security=sealing, **options)
    _make_models_once(server)
    logging.getLogger().removeHandler(guard)
    register_session_handlers(server)
    _add_plain_tools(server, gate)
    _add_steered_tools(server, gate)
    _add_talking_tools(server, gate)
    _add_asking_tools(server, gate)
    _add_resources(server)
    return server


def _add_plain_tools(server: MCPServer[Any], gate: Gate) -> None:
    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add."""
        gate.runs += 1
        return a + b

    @server.tool()
    async def blocked() -> str:
        """Wait until the test opens the gate."""
        gate.runs += 1
        await gate.pass_through()
        return "through"

    @server.tool()
    async def fail() -> str:
        """Fail unexpectedly."""
        raise RuntimeError(DETAIL)

    @server.tool()
    async def refuse(code: int) -> str:
        """Fail with a JSON-RPC error."""
        raise MCPError(code, "refused", {"requiredCapabilities": {"sampling": {}}})


def _add_steered_tools(server: MCPServer[Any], gate: Gate) -> None:
    @server.tool()
    async def count(steps: int, ctx: Context) -> str:
        """Report progress `steps` times, then wait for the gate, report once more and answer."""
        gate.runs += 1
        for step in range(1, steps + 1):
            await ctx.report_progress(step, steps)
            gate.written = step
        await gate.pass_through()
        await ctx.report_progress(steps + 1, steps)
        return "counted"

    @server.tool()
    async def burst(steps: int, ctx: Context, pause: bool = False) -> str:
        """Wait for the gate, report progress `steps` times at once, perhaps wait again, answer."""
        gate.runs += 1
        await ctx.report_progress(0, steps)
        await gate.pass_through()
        for step in range(1, steps + 1):
            await ctx.report_progress(step, steps)
            gate.written = step
        if pause:
            gate.open.clear()
            await gate.open.wait()
        return "burst"


def _add_talking_tools(server: MCPServer[Any], gate: Gate) -> None:
    @server.tool()
    async def talk(level: str, ctx: Context) -> str:
        """Send one log message on the call's own stream."""
        await convert_context(ctx, OurContext).log(level, "a word")
        return "talked"

    @server.tool()
    async def obey(ctx: Context) -> str:
        """Report progress each time the test orders it, until the order to stop."""
        gate.runs += 1
        while await gate.orders.get():
            gate.written += 1
            await ctx.report_progress(gate.written)
        return "obeyed"

    @server.tool()
    async def poll(ctx: Context, speak: bool = False) -> str:
        """Close the socket, wait for the gate, answer."""
        if speak:
            await ctx.report_progress(1, 2)
            await gate.open.wait()
            gate.open.clear()
        await ctx.close_sse_stream()
        await gate.pass_through()
        return "polled"

    @server.tool()
    async def announce(ctx: Context) -> str:
        """Tell everybody that the tools and one resource changed."""
        await ctx.notify_tools_changed()
        await ctx.notify_resource_updated("test://watched")
        return "announced"

    @server.tool()
    async def whisper(text: str, ctx: Context) -> str:
        """Send a message that belongs to no request, thus on the session's GET stream."""
        params = LoggingMessageNotificationParams(level="info", data=text)
        await ctx.request_context.session.send_notification(LoggingMessageNotification(params=params))
        return "whispered"


def _add_asking_tools(server: MCPServer[Any], gate: Gate) -> None:
    @server.tool()
    async def ask(ctx: Context) -> str:
        """Ask the user for a name."""
        gate.entered.set()
        answer = await convert_context(ctx, OurContext).elicit_form("name?", NAME_SCHEMA)
        return f"{answer.action} {(answer.content or {}).get('name')}"

    @server.tool()
    async def sample(ctx: Context) -> str:
        """Have the client's model write."""
        answer = await convert_context(ctx, OurContext).sample("write", max_tokens=10)
        return f"{answer.model} {getattr(answer.content, 'text', '')}"

    @server.tool()
    async def roots(ctx: Context) -> str:
        """List the client's folders."""
        answer = await convert_context(ctx, OurContext).list_roots()
        return " ".join(str(root.uri) for root in answer.roots)

    @server.tool()
    async def confirm(ctx: Context, what: str = "it") -> str | InputRequiredResult:
        """Ask by a multi round-trip, with a state that the client carries."""
        gate.runs += 1
        if ctx.request_state is None:
            question = ElicitRequest(params=ElicitRequestFormParams(message="name?", requested_schema=NAME_SCHEMA))
            return InputRequiredResult(input_requests={"name": question}, request_state=f"plain {what}")
        return f"the state was {ctx.request_state}"


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://watched")
    async def watched() -> str:
        """A resource that changes."""
        return "now"

    @server.resource("test://broken")
    async def broken() -> str:
        """A resource that cannot be read."""
        raise RuntimeError(DETAIL)

    @server.prompt()
    async def stumble() -> str:
        """Fail while a prompt is written."""
        raise RuntimeError(DETAIL)
