"""Tools that show what a proxy does to their answers."""

from __future__ import annotations

import asyncio

from mcp_transport import Context, tool


@tool
async def measure(text: str) -> int:
    """Return how long a text is."""
    return len(text)


@tool
async def brood(ctx: Context, seconds: float) -> str:
    """Say a word, think in silence, answer."""
    await ctx.report_progress(0, 1, "well")
    await asyncio.sleep(seconds)
    return "well thought"


@tool
async def tick(ctx: Context, steps: int) -> str:
    """Report progress at once."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
    return "over"
