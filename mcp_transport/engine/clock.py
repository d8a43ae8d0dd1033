"""The engine's clock; tests replace it with one that they advance by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SteadyClock", "SystemClock", "Timer", "wait"]


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Do not call it."""


class Clock(Protocol):
    """A wall clock, timeouts and timers."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds that only increase, whatever is done to the machine's time."""

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Return a context manager that raises TimeoutError after `seconds`; None sets no limit."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` after `seconds`, unless the timer is cancelled before."""


class SystemClock(Clock):
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    monotonic = staticmethod(time.monotonic)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)


class SteadyClock(SystemClock):
    """A clock that starts with the machine's time and does not jump when that is set.

    For sessions in the memory of one process, which a step of hours would end.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset + time.monotonic()


async def wait(clock: Clock, event: asyncio.Event, seconds: float | None) -> bool:
    """Wait at most `seconds` until `event` is set; return whether it is set."""
    if not event.is_set():
        try:
            async with clock.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
    return event.is_set()
