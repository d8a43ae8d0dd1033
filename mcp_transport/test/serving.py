"""The environment of a test's request: the endpoint's node on the running loop, the test's thread, exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from mcp_transport.bootstrap import endpoint
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.log_redaction import captured_exceptions
from mcp_transport.process import startup
from mcp_transport.signals import collect_events, send
from mcp_transport.test.thread import on_waiting_thread
from mcp_transport.threads import shared_thread

__all__ = ["collect_exceptions", "serving"]


class _LoopUsage:
    """The running requests on one loop; the last one stops the endpoints that they used."""

    def __init__(self) -> None:
        self.lock, self.requests, self.endpoints = asyncio.Lock(), 0, set[Endpoint]()


_usages: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopUsage] = WeakKeyDictionary()


@asynccontextmanager
async def serving() -> AsyncIterator[asyncio.Lock]:
    """Serve requests and receive events on the test's thread, and stop the loop's nodes afterwards.

    Yields the lock of this loop, under which requests start and end.
    """
    usage = _usages.setdefault(asyncio.get_running_loop(), _LoopUsage())
    async with usage.lock:  # no request starts while a node stops
        startup.skip()
        usage.endpoints.add(endpoint())
        usage.requests += 1
    with shared_thread(), on_waiting_thread(), collect_events() as events:
        try:
            yield usage.lock
        finally:
            async with usage.lock:
                usage.requests -= 1
                while not usage.requests and usage.endpoints:
                    await usage.endpoints.pop().pool.stop()
            for event in events:
                await sync_to_async(send)(event)


@contextmanager
def collect_exceptions() -> Iterator[list[BaseException]]:
    """Collect the exceptions that are logged while the block's requests run."""
    exceptions: list[BaseException] = []
    token = captured_exceptions.set(exceptions)
    try:
        yield exceptions
    finally:
        captured_exceptions.reset(token)
