"""Calls whose clients do not wait for the end: they leave, or give the calls up."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from tests.projects.clients import Visitor
from tests.projects.project import Site
from tests.projects.script import KINDS, SOON_SECONDS, side_by_side, works_of
from tests.support.http.network import SocketAnswer

TOOL_THREADS = 32  # the default of the setting
CALL_SECONDS = 0.5
PATIENCE = 10.0
_TICK = 0.05


async def abandon(
    site: Site, path: str, count: int, *, in_session: bool, begun: int = 0, seconds: float = CALL_SECONDS
) -> None:
    """Make calls, and leave all of them when all, or as many as `begun`, have begun."""
    prefix = uuid.uuid4().hex
    async with Visitor(site, path, proof=False) as visitor:
        if in_session:
            await visitor.initialize()
        calls = [asyncio.create_task(_call(site, visitor, n, prefix, in_session, seconds)) for n in range(count)]
        await _until_begun(site, prefix, begun or count)
        await _leave(calls)


async def cancel(site: Site, path: str, count: int) -> None:
    """Make calls in a session, and cancel them by notifications."""
    prefix = uuid.uuid4().hex
    async with Visitor(site, path, proof=False) as visitor:
        await visitor.initialize()
        calls = [asyncio.create_task(_call(site, visitor, n, prefix, True, CALL_SECONDS)) for n in range(count)]
        await _until_begun(site, prefix, count)
        for number in range(count):
            await visitor.notify("notifications/cancelled", {"requestId": number})
        await _leave(calls)
        await visitor.delete()


async def _leave(calls: list[asyncio.Task[None]]) -> None:
    for call in calls:
        call.cancel()  # closes its connection
    await asyncio.gather(*calls, return_exceptions=True)


async def fill(site: Site) -> None:
    """Fill the pools of threads, which grow when all of their threads are busy, and never shrink."""
    path = site.project.paths[0]
    arguments = {"work": "none", "when": "later", "name": "fill", "seconds": CALL_SECONDS}
    async with Visitor(site, path) as visitor:
        slow = [_answered(visitor.call_alone("sync_call", arguments)) for _ in range(TOOL_THREADS)]
        lists = [_answered(visitor.alone("tools/list")) for _ in range(TOOL_THREADS)]
        await asyncio.gather(*slow, *lists, return_exceptions=True)


async def everything(site: Site) -> None:
    """Do on each path what leaves something behind if anything does."""
    await side_by_side(site, 40)  # other tests look at the answers
    for path in site.project.paths:
        await asyncio.gather(
            abandon(site, path, 8, in_session=False),
            abandon(site, path, 8, in_session=True),
            cancel(site, path, 8),
        )


async def _call(site: Site, visitor: Visitor, number: int, prefix: str, in_session: bool, seconds: float) -> None:
    """Call a tool: each second one is synchronous, each second pair writes where there is a database."""
    works = works_of(site)
    arguments = {
        "work": works[-1] if number % 4 > 1 else works[len(works) // 2],
        "when": "later",
        "name": f"{prefix}-{number}",
        "seconds": seconds if site.project.streams else SOON_SECONDS,
    }
    call: Callable[..., Awaitable[Any]] = visitor.call if in_session else visitor.call_alone
    answer = await call(f"{KINDS[number % 2]}_call", arguments, id=number)
    await answer.outcome(2 * PATIENCE)


async def _answered(request: Awaitable[SocketAnswer]) -> None:
    await (await request).outcome(2 * PATIENCE)


async def _until_begun(site: Site, prefix: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (await site.get_json(f"/vitals?begun={prefix}"))["begun"] < count:
        assert time.monotonic() < deadline, "the calls do not begin"
        await asyncio.sleep(_TICK)
