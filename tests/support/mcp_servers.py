"""Servers that a project may have already, of both kinds the SDK makes; the tests name them in SERVER."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent, Tool

lives: list[str] = []
"""What the lifespans did, in order."""


@asynccontextmanager
async def lifespan(server: Any) -> AsyncIterator[dict[str, str]]:
    lives.append("entered")
    yield {"shelf": "left"}
    lives.append("left")


high_level: MCPServer[Any] = MCPServer("high", version="2", lifespan=lifespan)


@high_level.tool()
async def where(thing: str, ctx: Context[Any, Any]) -> str:
    """Tell where something lies."""
    caller: Any = ctx.request_context.request
    await ctx.report_progress(1, 1)
    return f"{thing} {ctx.request_context.lifespan_context['shelf']} {caller.user.is_authenticated}"


@high_level.resource("high://hours")
def hours() -> str:
    """When we are there."""
    return "9 to 5"


@high_level.prompt()
def praise(thing: str) -> str:
    """Praise something."""
    return f"Praise {thing}."


empty: MCPServer[Any] = MCPServer("empty")


async def _list_tools(ctx: Any, params: Any) -> ListToolsResult:
    schema = {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]}
    return ListToolsResult(tools=[Tool(name="where", description="Tell where something lies.", input_schema=schema)])


async def _call_tool(ctx: Any, params: CallToolRequestParams) -> CallToolResult:
    shelf = ctx.lifespan_context["shelf"]
    text = f"{(params.arguments or {})['thing']} {shelf} {ctx.request.user.is_authenticated}"
    return CallToolResult(content=[TextContent(type="text", text=text)])


low_level: Server[Any] = Server(
    "low", version="3", lifespan=lifespan, on_list_tools=_list_tools, on_call_tool=_call_tool
)
