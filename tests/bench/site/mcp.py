"""The two tools that every measured server has."""

from __future__ import annotations

import asyncio

from mcp_transport import Context, tool


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
async def count(ctx: Context, steps: int, pause: float = 0.0) -> int:
    """Report progress `steps` times."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        if pause:
            await asyncio.sleep(pause)
    return steps
