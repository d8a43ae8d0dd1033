"""The store's time, estimated from the `Date` headers of its responses, so that no clock of a node matters."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ["MAX_CLOCK_ERROR", "StoreClock"]

MAX_CLOCK_ERROR: Final = 1.0
"""Seconds by which the estimate may be wrong, besides the duration of one request."""

# Two quartz clocks drift apart by less than this share of the time.
_DRIFT: Final = 2e-4


class StoreClock:
    """Keeps the bounds within which the store's time must be, relative to a monotonic clock.

    A `Date` header names the second in which the response was written. Each response is later than its request and
    earlier than its arrival, so it bounds the offset of the store's clock; together, a few bound it to much less than
    a second.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self.monotonic, self._wall = monotonic, wall
        self._low, self._high = float("-inf"), float("inf")
        self._observed_at = monotonic()

    def __call__(self) -> float:
        """Return the store's time in seconds since the epoch; before the first response, that of the machine."""
        low, high = self._low, self._high
        if low == float("-inf"):
            return self._wall()
        return self.monotonic() + (low + high) / 2

    def observe(self, date: str, sent: float, received: float) -> None:
        """Take the `Date` header of a response, with the monotonic times around it; ignore an invalid header."""
        try:
            written = parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError, OverflowError):
            return
        low, high = written - received, written + 1 - sent
        drift = (received - self._observed_at) * _DRIFT
        low_bound, high_bound = max(self._low - drift, low), min(self._high + drift, high)
        if low_bound > high_bound:  # a clock was set: only the newest response counts
            low_bound, high_bound = low, high
        self._low, self._high, self._observed_at = low_bound, high_bound, received
