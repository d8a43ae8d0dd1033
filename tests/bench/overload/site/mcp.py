"""Tools of a known capacity that use no processor: about 100 calls/s each."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

from mcp_transport import tool
from tests.bench.overload.capacity import ASYNC_PLACES, ASYNC_SECONDS, SYNC_SECONDS
from tests.bench.overload.site import counting

__all__ = ["counting"]

_LIMITED: dict[str, Any] = {}
if os.environ.get("BENCH_TOOL_LIMIT"):
    _LIMITED = {"max_concurrency": ASYNC_PLACES}

# What the tool would wait for: a pool of connections, say. It is there with protection and without it.
_places = asyncio.Semaphore(ASYNC_PLACES)
_never = threading.Event()


@tool
def slow_sync(a: int) -> int:
    """Occupy a thread."""
    time.sleep(SYNC_SECONDS)
    return a


@tool(**_LIMITED)
async def slow_async(a: int) -> int:
    """Occupy one of ten places."""
    async with _places:
        await asyncio.sleep(ASYNC_SECONDS)
    return a


@tool
async def add(a: int) -> int:
    """Return at once."""
    return a


@tool
def stuck(a: int) -> int:
    """Never return."""
    _never.wait()
    return a
