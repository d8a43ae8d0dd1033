"""Limits on how much runs at a time: the rest waits in a bounded queue that is fair between callers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mcp_transport.exceptions import Overloaded

__all__ = ["ConcurrencyLimit", "ConcurrencyLimiter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimit:
    """How much may run and wait at a time, in total and of one caller."""

    name: str
    """The setting or option that sets the limit."""
    scope: str
    """What the limit protects: "server" or "tool"."""
    running: int
    running_per_caller: int
    waiting: int
    waiting_per_caller: int
    wait_seconds: float


# A queue that has not been empty for this share of `wait_seconds` is a sign of overload, and not of a burst. Then
# calls may wait for a tenth of the time only: the queue stays short, and is gone soon after the overload. That is the
# idea of controlled delay (RFC 8289), with a deadline in place of dropping.
_BURST_SHARE: Final = 0.5
_SHARE_UNDER_OVERLOAD: Final = 0.1

# A call is refused at once if it would wait for more than this share of the time for which it may.
_EXPECTED_SHARE: Final = 0.5

# The weight of the newest interval in the average interval between two admissions.
_SMOOTHING: Final = 0.1


class _Waiter:
    __slots__ = ("admitted", "caller")

    def __init__(self, caller: str) -> None:
        self.caller, self.admitted = caller, asyncio.Event()


class ConcurrencyLimiter:
    """Applies a limit on one event loop; callers whose calls wait are admitted in turn."""

    def __init__(
        self,
        limit: ConcurrencyLimit,
        timeout: Callable[[float], asyncio.Timeout] = asyncio.timeout,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit, self._timeout, self._now = limit, timeout, now
        self.running = self.waiting = 0
        self.record_wait: Callable[[float], None] = lambda seconds: None
        """Gets the seconds that each call has waited for room."""
        self.lost = 0
        """How many of those that run cannot be ended, although their calls have ended."""
        self._running_of: dict[str, int] = {}
        # The caller whose turn is next comes first.
        self._queues: dict[str, deque[_Waiter]] = {}
        self._waiting_since = self._admitted_at = 0.0
        self._interval = 0.0  # on average between two admissions from the queue; 0 if unknown

    def check(self, caller: str) -> None:
        """Check that a call would run or wait. Raises: Overloaded."""
        if self._has_room_for(caller):
            return
        queue = self._queues.get(caller, ())
        waiting, turns = len(queue), len(self._queues) + (not queue)
        if waiting >= self.limit.waiting_per_caller:
            raise self._overloaded(caller, is_own=True, reason=f"{waiting} calls of this caller wait already")
        if self.waiting >= self.limit.waiting:
            raise self._overloaded(caller, is_own=False, reason=f"{self.waiting} calls wait already")
        # With each turn, one call of each caller is admitted. Half of the time is left for an estimate that is wrong.
        expected = min(self.waiting + 1, (waiting + 1) * turns) * self._interval
        if expected > self._max_wait() * _EXPECTED_SHARE:
            is_own = waiting > self.waiting / 2
            raise self._overloaded(caller, is_own=is_own, reason=f"the call would wait for {expected:.1f} s")

    def try_acquire(self, caller: str) -> bool:
        """Start to run if there is room; return whether there was."""
        # A caller that waits although there is room has used up its own share. Not `_has_room_for`: this runs with
        # each call, and the count is needed twice.
        limit, own = self.limit, self._running_of.get(caller, 0)
        if self.running >= limit.running or own >= limit.running_per_caller:
            return False
        self.running += 1
        self._running_of[caller] = own + 1
        return True

    async def acquire(self, caller: str) -> None:
        """Wait for room, `wait_seconds` at most. Raises: Overloaded."""
        if self.try_acquire(caller):
            return
        self.check(caller)
        waiter, began, max_wait = _Waiter(caller), self._now(), self._max_wait()
        if not self.waiting:
            self._waiting_since = self._admitted_at = began
        self._queues.setdefault(caller, deque()).append(waiter)
        self.waiting += 1
        try:
            async with self._timeout(max_wait):
                await waiter.admitted.wait()
        except BaseException as error:
            if waiter.admitted.is_set():
                if not isinstance(error, TimeoutError):
                    self.release(caller)
                    raise
            else:
                self._remove(waiter)
                if not isinstance(error, TimeoutError):
                    raise
                is_own = self._running_of.get(caller, 0) >= self.limit.running_per_caller
                reason = f"the call has waited for {max_wait:g} s"
                raise self._overloaded(caller, is_own=is_own, reason=reason) from None
        finally:
            self.record_wait(self._now() - began)

    def release(self, caller: str) -> None:
        """Stop to run, and admit who waits."""
        self.running -= 1
        if left := self._running_of[caller] - 1:
            self._running_of[caller] = left
        else:
            del self._running_of[caller]
        while self._queues and self.running < self.limit.running and (waiter := self._next()) is not None:
            self.running += 1
            self._running_of[waiter.caller] = self._running_of.get(waiter.caller, 0) + 1
            self._measure_interval()
            waiter.admitted.set()

    def _max_wait(self) -> float:
        """Return for how many seconds a call may wait that arrives now."""
        wait = self.limit.wait_seconds
        is_burst = not self.waiting or self._now() - self._waiting_since <= wait * _BURST_SHARE
        return wait if is_burst else wait * _SHARE_UNDER_OVERLOAD

    def _measure_interval(self) -> None:
        now = self._now()
        interval, self._admitted_at = now - self._admitted_at, now
        self._interval = self._interval + (interval - self._interval) * _SMOOTHING if self._interval else interval

    def _has_room_for(self, caller: str) -> bool:
        limit = self.limit
        return self.running < limit.running and self._running_of.get(caller, 0) < limit.running_per_caller

    def _next(self) -> _Waiter | None:
        """Remove the first waiter of the caller that runs least, if it may run more; equal callers take turns."""
        least, least_running = "", self.limit.running_per_caller
        for caller in self._queues:
            running = self._running_of.get(caller, 0)
            if running < least_running:
                least, least_running = caller, running
            if not running:
                break
        if least_running == self.limit.running_per_caller:
            return None
        queue = self._queues.pop(least)
        waiter = queue.popleft()
        self.waiting -= 1
        if queue:
            self._queues[least] = queue  # behind the others
        return waiter

    def _remove(self, waiter: _Waiter) -> None:
        queue = self._queues[waiter.caller]
        queue.remove(waiter)
        self.waiting -= 1
        if not queue:
            del self._queues[waiter.caller]

    def _overloaded(self, caller: str, *, is_own: bool, reason: str) -> Overloaded:
        limit = self.limit
        running = self._running_of.get(caller, 0) if is_own else self.running
        whose = "of this caller run" if is_own else "run"
        return Overloaded(
            f"{reason}, and {running} {whose} ({limit.name}): try again later",
            limit=limit.name,
            key="caller" if is_own else limit.scope,
            retry_after=limit.wait_seconds / 2,
        )
