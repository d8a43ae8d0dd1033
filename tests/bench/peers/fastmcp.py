"""FastMCP 4, sessions in memory; BENCH_MODE says which of its modes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.server.event_store import EventStore

server = FastMCP("fastmcp")


@server.tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool
async def count(ctx: Context, steps: int, pause: float = 0.0) -> int:
    """Report progress `steps` times."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        if pause:
            await asyncio.sleep(pause)
    return steps


_MODES: Mapping[str, Callable[[], Any]] = {
    "json": lambda: server.http_app(json_response=True),
    "sse": server.http_app,
    "events": lambda: server.http_app(event_store=EventStore(max_events_per_stream=1000)),
}
application = _MODES[os.environ["BENCH_MODE"]]()
