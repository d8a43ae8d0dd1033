"""The official Python SDK, sessions in memory; BENCH_MODE says which of its modes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("sdk", log_level="WARNING")


@server.tool()
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
async def count(ctx: Context, steps: int, pause: float = 0.0) -> int:
    """Report progress `steps` times."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        if pause:
            await asyncio.sleep(pause)
    return steps


def _streamable(**options: Any) -> Any:
    # Its limit of 10,000 sessions is lifted, as ours is.
    return server.streamable_http_app(max_sessions=None, **options)


_MODES: Mapping[str, Callable[[], Any]] = {
    "json": lambda: _streamable(json_response=True),
    "sse": _streamable,
    "stateless": lambda: _streamable(json_response=True, stateless_http=True),
    "http+sse": server.sse_app,
}
application = _MODES[os.environ["BENCH_MODE"]]()
