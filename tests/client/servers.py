"""Servers of other projects in this process; each run of a call is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import fastmcp
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

Build = Callable[[list[str]], Any]


@dataclass
class Served:
    """A listening server."""

    port: int
    runs: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


def sdk(runs: list[str]) -> Any:
    """Build a server of the official SDK with its own sessions."""
    server: MCPServer[Any] = MCPServer("plain", log_level="ERROR")
    for tool in tools(runs):
        hints = HINTS[tool.__name__]
        server.add_tool(tool, annotations=ToolAnnotations(**hints) if hints else None)
    return server.streamable_http_app()


def fast(runs: list[str]) -> Any:
    """Build a server of FastMCP."""
    server: Any = fastmcp.FastMCP("fast")
    for tool in tools(runs):
        server.tool(annotations=HINTS[tool.__name__] or None)(tool)
    return server.http_app()


HINTS: dict[str, dict[str, bool]] = {"act": {}, "look": {"readOnlyHint": True}, "put": {"idempotentHint": True}}


def tools(runs: list[str]) -> list[Callable[..., Any]]:
    async def act(text: str) -> str:
        runs.append("act")
        return text

    async def look(text: str) -> str:
        runs.append("look")
        return text

    async def put(text: str) -> str:
        runs.append("put")
        return text

    return [act, look, put]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # pytest has its own


@asynccontextmanager
async def serving(build: Build, port: int = 0) -> AsyncIterator[Served]:
    """Serve an application until the block ends."""
    runs: list[str] = []
    config = uvicorn.Config(
        build(runs), port=port, log_level="warning", lifespan="on", timeout_graceful_shutdown=0, ws="none"
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), task
        await asyncio.sleep(0.01)
    try:
        yield Served(server.servers[0].sockets[0].getsockname()[1], runs)
    finally:
        server.should_exit = True
        await task


PLAIN_SERVER = """
import sys
import uvicorn
from tests.client.servers import sdk
uvicorn.run(sdk([]), port=int(sys.argv[1]), log_level="warning")
"""
"""A program that serves the SDK's server on a port."""
