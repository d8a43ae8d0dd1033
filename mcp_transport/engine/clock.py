"""Time, as the engine sees it; tests put a clock in its place that they move by hand."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SteadyClock", "SystemClock", "soon", "wait"]


class Clock(Protocol):
    """A wall clock and a deadline."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Return a context that raises TimeoutError when it lasts longer; None sets no limit."""


class SystemClock(Clock):
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)


class SteadyClock(SystemClock):
    """The machine's clock as it was set when this one was made: it does not jump when that is set.

    For what lives in one process: a step of hours would end all of its sessions.
    """

    def __init__(self) -> None:
        self._began = time.time() - time.monotonic()

    def now(self) -> float:
        return self._began + time.monotonic()


async def soon(event: asyncio.Event) -> bool:
    """Let what can run do so before a timer is worth its while; return whether `event` is set then."""
    for _ in range(2):  # a task, and what it leads to
        await asyncio.sleep(0)
        if event.is_set():
            return True
    return False


async def wait(clock: Clock, event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, `seconds` at most; return whether it is set."""
    if not event.is_set():
        try:
            async with clock.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
    return event.is_set()
