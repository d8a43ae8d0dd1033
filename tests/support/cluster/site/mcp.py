"""Tools that leave marks in SITE_FOLDER, and wait there for the test.

A call named `name` writes a line into `<name>.runs` when it begins, waits until `<name>.open` exists, and writes
into `<name>.cancelled` when it is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from mcp_types import LoggingMessageNotification, LoggingMessageNotificationParams

from mcp_transport import Context, resource, tool
from tests.support.cluster.site import misbehaving as misbehaving  # its tools

FOLDER = Path(os.environ.get("SITE_FOLDER", "/nonexistent"))
NAME_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}


def _note(name: str, what: str) -> None:
    with (FOLDER / f"{name}.{what}").open("a") as file:
        file.write(f"{os.getpid()}\n")


async def _count(ctx: Context, name: str, steps: int, pause: float) -> str:
    _note(name, "runs")
    try:
        for step in range(1, steps + 1):
            await ctx.report_progress(step, steps, f"{os.getpid()}")
            if pause:
                await asyncio.sleep(pause)
        while not (FOLDER / f"{name}.open").exists():  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        _note(name, "cancelled")
        raise
    return f"counted to {steps} on {os.getpid()}"


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
async def where() -> int:
    """Return the process that serves this call."""
    return os.getpid()


@tool
async def count(ctx: Context, name: str, steps: int = 3, pause: float = 0.0) -> str:
    """Report progress `steps` times, wait for the test, answer."""
    return await _count(ctx, name, steps, pause)


@tool(read_only=True)
async def count_safely(ctx: Context, name: str, steps: int = 3, pause: float = 0.0) -> str:
    """Do as `count`, without effects."""
    return await _count(ctx, name, steps, pause)


if os.environ.get("SITE_WITHOUT") != "count_durably":  # as on a node with another release of the site

    @tool(durable=True)
    async def count_durably(ctx: Context, name: str, steps: int = 3, pause: float = 0.0) -> str:
        """Do as `count`, again if need be."""
        return await _count(ctx, name, steps, pause)


@tool(durable=True)
async def end_process(ctx: Context, name: str) -> str:
    """Report progress, then end the process, as a segmentation fault does, once `<name>.fatal` exists."""
    _note(name, "runs")
    await ctx.report_progress(1, 2)
    while not (FOLDER / f"{name}.open").exists():
        if (FOLDER / f"{name}.fatal").exists():
            os._exit(9)
        await asyncio.sleep(0.01)
    return f"done on {os.getpid()}"


@tool(durable=True)
async def block_loop(ctx: Context, name: str, seconds: float) -> str:
    """Report progress, then keep the event loop from everything else, unless the test lets it answer."""
    _note(name, "runs")
    await ctx.report_progress(1, 2)
    if not (FOLDER / f"{name}.open").exists():
        time.sleep(seconds)  # noqa: ASYNC251 (a driver that blocks)
    return f"done on {os.getpid()}"


@tool
async def silent(name: str) -> str:
    """Wait for the test without a word, answer."""
    _note(name, "runs")
    try:
        while not (FOLDER / f"{name}.open").exists():  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        _note(name, "cancelled")
        raise
    return f"done on {os.getpid()}"


@tool
def blocking(name: str) -> str:
    """Wait for the test in a thread, answer."""
    _note(name, "runs")
    while not (FOLDER / f"{name}.open").exists():
        time.sleep(0.01)
    return f"done on {os.getpid()}"


@tool
async def flood(ctx: Context, steps: int, size: int = 100) -> str:
    """Report progress `steps` times at once, with `size` bytes of text each."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, "x" * size)
    return "flooded"


@tool
async def ask(ctx: Context) -> str:
    """Ask the user for a name."""
    answer = await ctx.elicit_form("name?", NAME_SCHEMA)
    return f"{answer.action} {(answer.content or {}).get('name')}"


@tool
async def sample(ctx: Context) -> str:
    """Have the client's model write."""
    answer = await ctx.sample("write", max_tokens=10)
    return f"{answer.model} {getattr(answer.content, 'text', '')}"


@tool
async def roots(ctx: Context) -> str:
    """List the client's folders."""
    answer = await ctx.list_roots()
    return " ".join(str(root.uri) for root in answer.roots)


@tool
async def whisper(ctx: Context, text: str) -> str:
    """Send a message on the session's GET stream."""
    params = LoggingMessageNotificationParams(level="info", data=text)
    await ctx.request_context.session.send_notification(LoggingMessageNotification(params=params))
    return "whispered"


@tool
async def say(ctx: Context, level: str, text: str) -> str:
    """Send a log message on the call's stream."""
    await ctx.log(level, text)
    return "said"


@tool
async def announce(ctx: Context, uri: str = "test://watched") -> str:
    """Tell everybody that the tools and one resource changed."""
    await ctx.notify_tools_changed()
    await ctx.notify_resource_updated(uri)
    return "announced"


@tool
async def remember(ctx: Context, name: str, value: str) -> str:
    """Keep a value with the session."""
    await ctx.session.set(name, value)
    return "kept"


@tool
async def recall(ctx: Context, name: str) -> str:
    """Return what the session keeps."""
    return str(await ctx.session.get(name, ""))


@resource("test://watched")
async def watched() -> str:
    """A resource that changes."""
    return "now"


@tool
def modules() -> list[str]:
    """Return the modules that the process has imported."""
    return list(sys.modules)
