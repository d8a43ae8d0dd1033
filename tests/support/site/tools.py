"""Tools that a test can steer and watch by further requests."""

import asyncio
import threading
from collections import defaultdict

from pydantic import BaseModel

from mcp_transport import Context
from mcp_transport.bootstrap import endpoint
from mcp_transport.domain.session import session_key

_PATIENCE = 10.0
"""Seconds after which a tool gives up on its test."""

_steps: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(0))
_journal: defaultdict[str, defaultdict[str, threading.Event]] = defaultdict(lambda: defaultdict(threading.Event))


class Name(BaseModel):
    """An answer to `ask`."""

    name: str


def add(a: int, b: int) -> int:
    """Add, in a thread."""
    return a + b


async def echo(text: str) -> str:
    """Return the text."""
    return text


async def count(steps: int, gate: str, ctx: Context) -> str:
    """Report progress `steps` times, the second time and later when `proceed` allows it; then answer when it does."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps)
        await _steps[gate].acquire()
    return "counted"


async def proceed(gate: str) -> str:
    """Let `count` or `slow` take one step."""
    _steps[gate].release()
    return "open"


async def slow(name: str, ctx: Context) -> str:
    """Report progress once, then wait for `proceed`; what becomes of it is in the journal."""
    try:
        await ctx.report_progress(1)
        _journal[name]["started"].set()
        await _steps[name].acquire()
        _journal[name]["finished"].set()
    except asyncio.CancelledError:
        _journal[name]["cancelled"].set()
        raise
    return "slow"


async def silent(name: str) -> str:
    """Wait for `proceed` without a word; what becomes of it is in the journal."""
    try:
        _journal[name]["started"].set()
        await _steps[name].acquire()
        _journal[name]["finished"].set()
    except asyncio.CancelledError:
        _journal[name]["cancelled"].set()
        raise
    return "silent"


def journal(name: str, until: str) -> list[str]:
    """Wait until `until` has happened to the call `name`, on whichever loop; return all that has."""
    _journal[name][until].wait(_PATIENCE)
    return sorted(event for event, happened in list(_journal[name].items()) if happened.is_set())


async def calls(name: str) -> int:
    """Count what has happened to the call `name`."""
    return sum(happened.is_set() for happened in list(_journal[name].values()))


async def chatter(ctx: Context) -> str:
    """Report progress and log without waiting for anything."""
    await ctx.report_progress(1, 2)
    await ctx.info("half of it")
    await ctx.report_progress(2, 2)
    return "said"


async def flood(name: str, ctx: Context) -> str:
    """Report progress without end, more than any socket takes; what becomes of it is in the journal."""
    try:
        for step in range(1, 2000):
            await ctx.report_progress(step, message="x" * 60_000)
            _journal[name]["started"].set()
    except asyncio.CancelledError:
        _journal[name]["cancelled"].set()
        raise
    _journal[name]["finished"].set()
    return "flooded"


async def ask(ctx: Context) -> str:
    """Ask the user for a name."""
    answer = await ctx.elicit("Who?", Name)
    return f"{answer.action} {answer.data.name}" if answer.action == "accept" else answer.action


async def announce(ctx: Context) -> str:
    """Tell the GET streams that the tools changed."""
    await ctx.notify_tools_changed()
    return "announced"


async def remember(value: str, ctx: Context) -> str:
    """Keep a value in the session."""
    await ctx.session.set("value", value)
    return "kept"


async def recall(ctx: Context) -> str:
    """Return the value kept in the session."""
    return str(await ctx.session.get("value", "nothing"))


async def whoami(ctx: Context) -> str:
    """Return the caller's name."""
    return ctx.user.get_username() or "nobody"


async def header(name: str, ctx: Context) -> str:
    """Return a header of the request."""
    return ctx.headers.get(name, "none")


async def held(session_id: str) -> int:
    """Count the sockets that this node writes streams of a session to."""
    node = await endpoint().pool.node()
    return sum(key == session_key(session_id) for key, _ in node.registry.streams)


TOOLS = (
    add,
    announce,
    ask,
    calls,
    chatter,
    count,
    echo,
    flood,
    header,
    held,
    journal,
    proceed,
    recall,
    remember,
    silent,
    slow,
    whoami,
)
