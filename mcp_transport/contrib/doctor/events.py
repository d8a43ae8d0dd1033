"""The tool that `manage.py mcp_doctor` calls if it is listed."""

from __future__ import annotations

import asyncio
import os
import secrets
from functools import lru_cache
from typing import Annotated, Final

from pydantic import Field

from mcp_transport import Context

__all__ = ["INTERVAL_SECONDS", "mcp_doctor_events"]

INTERVAL_SECONDS: Final = 0.01
"""The interval of events, a fraction of the 40 ms by which Nagle's algorithm and delayed ACKs delay them."""


async def mcp_doctor_events(ctx: Context, events: Annotated[int, Field(ge=0, le=100)] = 0) -> dict[str, str]:
    """Report progress every 10 milliseconds, and return the node and how the request arrived, for `mcp_doctor`."""
    for number in range(1, events + 1):
        await ctx.report_progress(number, events)
        await asyncio.sleep(INTERVAL_SECONDS)
    request = ctx.request_context.request
    return {
        "node": _node(os.getpid()),
        "http": str(request.scope.get("http_version", "")) if request is not None else "",
        "connection": ctx.headers.get("connection", ""),
    }


@lru_cache(maxsize=1)
def _node(pid: int) -> str:
    """Return a random name for this process; `pid` gives a forked process its own."""
    return secrets.token_hex(4)
