"""The memory budget for request bodies, in total and per caller."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST

__all__ = ["MemoryBudget", "Reservation"]

logger = logging.getLogger(__name__)

# Anonymous callers, whose number is unlimited, leave a part of the budget to callers with credentials.
_ANONYMOUS_SHARE: Final = 0.75

# A flood of requests must not become a flood of log lines.
_LOG_INTERVAL_SECONDS: Final = 60.0

_RETRY_AFTER: Final = (("Retry-After", "2"),)


class MemoryBudget:
    """The bytes that requests hold, in total and per caller; thread-safe."""

    def __init__(self, max_bytes: int, max_bytes_per_caller: int, now: Callable[[], float]) -> None:
        self._max_bytes, self._max_each = max_bytes, min(max_bytes, max_bytes_per_caller)
        self._max_anonymous = int(max_bytes * _ANONYMOUS_SHARE)
        self._now = now
        self.lock = threading.RLock()
        """Held while a reservation changes."""
        self.reserved_bytes = self._anonymous_bytes = 0
        self._by_caller: Counter[str] = Counter()
        self._refusals = 0
        self._next_log_at = float("-inf")

    def reserve(self, principal: Principal, address: str) -> Reservation:
        """Return a reservation of 0 bytes, which its holder resizes and releases."""
        return Reservation(self, principal.caller(address), is_anonymous=not principal.binding)

    def limit_for(self, *, is_anonymous: bool) -> int:
        """Return how many bytes a caller may hold at most."""
        return min(self._max_each, self._max_anonymous) if is_anonymous else self._max_each

    def add(self, caller: str, size: int, *, is_anonymous: bool) -> None:
        """Add bytes to those of a caller; a negative `size` frees them."""
        self.reserved_bytes += size
        self._anonymous_bytes += size if is_anonymous else 0
        self._by_caller[caller] += size
        if not self._by_caller[caller]:
            del self._by_caller[caller]

    def shortage(self, caller: str, size: int, *, is_anonymous: bool) -> str:
        """Return which limit `size` more bytes would exceed, or "" if none."""
        if (own := self._by_caller[caller]) + size > self._max_each:
            return f"the requests of this caller take {own} of {self._max_each} bytes"
        if self.reserved_bytes + size > self._max_bytes:
            return f"the requests of all callers take {self.reserved_bytes} of {self._max_bytes} bytes"
        if is_anonymous and self._anonymous_bytes + size > self._max_anonymous:
            return f"the requests without credentials take {self._anonymous_bytes} of {self._max_anonymous} bytes"
        return ""

    def log_refusal(self, reason: str) -> None:
        """Log that requests are refused, at most once per interval."""
        self._refusals += 1
        if self._now() >= self._next_log_at:
            self._next_log_at = self._now() + _LOG_INTERVAL_SECONDS
            logger.warning("no memory for bodies, %d requests were refused with 503: %s", self._refusals, reason)
            self._refusals = 0


class Reservation:
    """The bytes that one request holds until all holders have released it, such as its handlers."""

    __slots__ = ("_budget", "_caller", "_holders", "_is_anonymous", "_size")

    def __init__(self, budget: MemoryBudget, caller: str, *, is_anonymous: bool) -> None:
        self._budget, self._caller, self._is_anonymous = budget, caller, is_anonymous
        self._size, self._holders = 0, 1

    def expect(self, size: int) -> None:
        """Check that the reservation may grow to `size` bytes now.

        Raises:
            ProtocolError: 503 if it may not now, 413 if it never may.
        """
        budget = self._budget
        if size > (limit := budget.limit_for(is_anonymous=self._is_anonymous)):
            raise ProtocolError(
                413,
                INVALID_REQUEST,
                f"the body and its decoded values take {size} bytes of memory, a caller may use at most {limit}: "
                "send fewer values, or several requests",
            )
        with budget.lock:
            if reason := budget.shortage(self._caller, size - self._size, is_anonymous=self._is_anonymous):
                budget.log_refusal(reason)
                raise _no_memory(reason)

    def resize(self, size: int) -> None:
        """Change the size to `size` bytes. Raises: ProtocolError as `expect`."""
        with self._budget.lock:
            if size > self._size:
                self.expect(size)
            self.force(size)

    def force(self, size: int) -> None:
        """Change the size to `size` bytes regardless of the limits."""
        with self._budget.lock:
            self._budget.add(self._caller, size - self._size, is_anonymous=self._is_anonymous)
            self._size = size

    def add_holder(self) -> None:
        """Add a holder, which must release it, too."""
        with self._budget.lock:
            self._holders += 1

    def hold_until_done(self, task: asyncio.Task[None]) -> None:
        """Add a task as a holder until it ends."""
        self.add_holder()
        task.add_done_callback(lambda _: self.release())

    def release(self) -> None:
        """Remove a holder; the last one frees the bytes. Thread-safe."""
        with self._budget.lock:
            self._holders -= 1
            if not self._holders:
                self.force(0)


def _no_memory(reason: str) -> ProtocolError:
    problem = f"no memory for the body now: {reason}; try again later"
    refusal = ProtocolError(503, INTERNAL_ERROR, problem, headers=_RETRY_AFTER)
    refusal.is_logged = True
    return refusal
