"""Around a request: the endpoint's node of the running loop, the thread of the test, and crashes of its tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from mcp_transport.bootstrap import endpoint
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.log_redaction import captured_exceptions
from mcp_transport.signals import collect_events, send
from mcp_transport.test.thread import on_waiting_thread
from mcp_transport.threads import shared_thread

__all__ = ["crashes", "serving"]


class _Guests:
    """The requests that are under way on one loop; the last one stops what served them."""

    def __init__(self) -> None:
        self.lock, self.number, self.endpoints = asyncio.Lock(), 0, set[Endpoint]()


_guests: WeakKeyDictionary[asyncio.AbstractEventLoop, _Guests] = WeakKeyDictionary()


@asynccontextmanager
async def serving() -> AsyncIterator[asyncio.Lock]:
    """Have requests served, and events received, on the test's thread; leave no node behind on the loop.

    Yields the lock under which, on this loop, requests come and go.
    """
    guests = _guests.setdefault(asyncio.get_running_loop(), _Guests())
    async with guests.lock:  # so that nobody comes in while a node stops
        served = endpoint()
        served.leave_process_alone()
        guests.endpoints.add(served)
        guests.number += 1
    with shared_thread(), on_waiting_thread(), collect_events() as events:
        try:
            yield guests.lock
        finally:
            async with guests.lock:
                guests.number -= 1
                while not guests.number and guests.endpoints:
                    await guests.endpoints.pop().stop()
            for event in events:
                await sync_to_async(send)(event)


@contextmanager
def crashes() -> Iterator[list[BaseException]]:
    """Collect the exceptions that are logged while the block's requests are served."""
    found: list[BaseException] = []
    token = captured_exceptions.set(found)
    try:
        yield found
    finally:
        captured_exceptions.reset(token)
