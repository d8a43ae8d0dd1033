"""The two tools that every measured server has."""

from __future__ import annotations

import asyncio

from django.contrib.contenttypes.models import ContentType

from mcp_transport import Context, tool


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
async def query(a: int, b: int) -> int:
    """Add, after one query."""
    await ContentType.objects.filter(pk=a).aexists()
    return a + b


@tool
async def count(ctx: Context, steps: int, pause: float = 0.0) -> int:
    """Report progress `steps` times."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        if pause:
            await asyncio.sleep(pause)
    return steps
