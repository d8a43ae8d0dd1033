"""Around a request: the endpoint's node of the running loop, the thread of the test, and crashes of its tools."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from mcp_transport.bootstrap import endpoint
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.signals import held_back, send
from mcp_transport.test.thread import on_waiting_thread
from mcp_transport.threads import shared_thread

__all__ = ["crashes", "serving"]

# Whoever logs what a tool, a resource or an authenticator raises, as an error and while it is handled.
_LOGGERS: Final = ("mcp_transport", "mcp")


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
    with shared_thread(), on_waiting_thread(), held_back() as events:
        try:
            yield guests.lock
        finally:
            async with guests.lock:
                guests.number -= 1
                while not guests.number and guests.endpoints:
                    await guests.endpoints.pop().stop()
            for event in events:
                await sync_to_async(send)(event)


_crashes: ContextVar[list[BaseException] | None] = ContextVar("mcp_transport.test.crashes", default=None)


@contextmanager
def crashes() -> Iterator[list[BaseException]]:
    """Collect the exceptions that are logged while the block's requests are served."""
    found: list[BaseException] = []
    token = _crashes.set(found)
    added: list[tuple[logging.Logger, logging.Handler]] = []
    for logger in map(logging.getLogger, _LOGGERS):
        if not logger.hasHandlers() and logging.lastResort is not None:
            added.append((logger, logging.lastResort))  # which logging uses only where there is no other handler
        added.append((logger, _Listener(found)))
    try:
        for logger, handler in added:
            logger.addHandler(handler)
        yield found
    finally:
        for logger, handler in added:
            logger.removeHandler(handler)
        _crashes.reset(token)


class _Listener(logging.Handler):
    """Keeps the exceptions of one client's requests; whatever logs them runs in a copy of its context."""

    def __init__(self, found: list[BaseException]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        # Not the record's, which may have lost it for the sake of LOG_EXCEPTION_TEXTS.
        if (error := sys.exception()) is not None and _crashes.get() is self._found:
            self._found.append(_root(error))


def _root(error: BaseException) -> BaseException:
    """Return what a function raised, out of what the SDK wraps it in."""
    while type(error).__module__.startswith("mcp.") and error.__cause__ is not None:
        error = error.__cause__
    return error
