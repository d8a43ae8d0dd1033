"""Limits of processes and of what stands around the endpoint."""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from threading import Event

from mcp_transport import conf
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.admission import thread_limit
from mcp_transport.threads import CallThread, run_limited, thread_limiter
from tests.limits.cases import Stage, case
from tests.support.clock import settle


@case("synchronous tools running at the same time", conf.SETTINGS["TOOL_THREADS"].default)
async def threads(stage: Stage) -> None:
    begun, returns = SimpleQueue[int](), Event()

    def work() -> None:
        begun.put(1)
        returns.wait(5)

    async def call() -> None:
        async with CallThread():
            await run_limited(work, print)

    thread_limiter(thread_limit(Policy(tool_threads=2)))

    calls = [asyncio.create_task(call()) for _ in range(3)]
    for _ in range(2):
        await asyncio.to_thread(begun.get, timeout=5)
    await settle()
    assert begun.empty()
    returns.set()
    await asyncio.gather(*calls)
    assert begun.qsize() == 1
