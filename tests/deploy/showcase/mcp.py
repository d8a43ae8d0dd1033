"""Tools that show what a proxy does to their answers."""

from __future__ import annotations

import asyncio
import time

from mcp_transport import Context, tool


@tool
async def tick(ctx: Context, steps: int, pause: float) -> str:
    """Report progress every so often, saying when each report was sent."""
    for step in range(1, steps + 1):
        await asyncio.sleep(pause)
        await ctx.report_progress(step, steps, repr(time.time()))
    return "over"


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
