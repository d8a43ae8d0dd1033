"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class FakeTimer:
    due: float
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        self.callback = None  # asyncio forgets it, too


class FakeClock:
    """Stands still until `advance` is called; deadlines that are then past expire."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start
        self._deadlines: list[tuple[float, asyncio.Timeout]] = []
        self._timers: list[FakeTimer] = []
        self.armed = asyncio.Event()
        """Set whenever something begins to wait with a deadline; clear it to wait for the next."""

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        timeout = asyncio.timeout(None)
        if seconds is not None:
            self._deadlines.append((self._now + seconds, timeout))
            self.armed.set()
        return timeout

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self._now + seconds, callback)
        self._timers.append(timer)
        return timer

    async def advance(self, seconds: float) -> None:
        """Let everything run as far as it can, move on, and let whatever expired run."""
        await settle()
        self._now += seconds
        due = [timeout for deadline, timeout in self._deadlines if deadline <= self._now]
        self._deadlines = [item for item in self._deadlines if item[0] > self._now]
        for timeout in due:
            try:
                timeout.reschedule(asyncio.get_running_loop().time())
            except RuntimeError:
                continue  # what it guarded is over
        for timer in [timer for timer in self._timers if timer.due <= self._now]:
            self._timers.remove(timer)
            if timer.callback is not None:
                timer.callback()
        await settle()


async def settle() -> None:
    """Let every task that can run go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)
