"""How much memory the bodies of requests may take, all together and those of one caller."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.client_address import caller_block
from mcp_transport.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST

__all__ = ["Budget", "Reservation"]

logger = logging.getLogger(__name__)

# Anonymous callers, of whom anybody can be many, leave a part of the budget to those with credentials.
_FOR_ANONYMOUS: Final = 0.75

# Seconds between two log lines: a flood of requests must not become a flood of lines.
_LOG_EVERY: Final = 60.0

_RETRY: Final = (("Retry-After", "2"),)


class Budget:
    """Bytes that requests hold, in all and by caller; any thread may reserve and release."""

    def __init__(self, most: int, most_each: int, now: Callable[[], float]) -> None:
        self._most, self._most_each = most, min(most, most_each)
        self._most_anonymous = int(most * _FOR_ANONYMOUS)
        self._now = now
        self.lock = threading.RLock()
        """Held by a reservation that changes."""
        self.held = self._anonymous = 0
        """Bytes."""
        self._by_caller: Counter[str] = Counter()
        self._refused = 0
        self._next_line = float("-inf")

    def reserve(self, principal: Principal, address: str) -> Reservation:
        """Return a reservation of nothing, which its holder resizes and releases."""
        return Reservation(self, principal.binding or caller_block(address), is_anonymous=not principal.binding)

    def most_of(self, *, is_anonymous: bool) -> int:
        """Return how many bytes a caller may ever take."""
        return min(self._most_each, self._most_anonymous) if is_anonymous else self._most_each

    def add(self, caller: str, size: int, *, is_anonymous: bool) -> None:
        """Take some more bytes for a caller or, with a negative size, give them back."""
        self.held += size
        self._anonymous += size if is_anonymous else 0
        self._by_caller[caller] += size
        if not self._by_caller[caller]:
            del self._by_caller[caller]

    def why_not(self, caller: str, size: int, *, is_anonymous: bool) -> str:
        """Say which part of the budget has no room for some more bytes; an empty string means that all have."""
        if (own := self._by_caller[caller]) + size > self._most_each:
            return f"the requests of this caller take {own} of {self._most_each} bytes"
        if self.held + size > self._most:
            return f"the requests of all callers take {self.held} of {self._most} bytes"
        if is_anonymous and self._anonymous + size > self._most_anonymous:
            return f"the requests without credentials take {self._anonymous} of {self._most_anonymous} bytes"
        return ""

    def log_refusal(self, reason: str) -> None:
        """Log that requests are refused, once a while."""
        self._refused += 1
        if self._now() >= self._next_line:
            self._next_line = self._now() + _LOG_EVERY
            logger.warning("no memory for bodies, %d requests were refused with 503: %s", self._refused, reason)
            self._refused = 0


class Reservation:
    """Bytes of a budget that one request holds until everybody who works on its messages has released it."""

    __slots__ = ("_budget", "_caller", "_holders", "_is_anonymous", "_size")

    def __init__(self, budget: Budget, caller: str, *, is_anonymous: bool) -> None:
        self._budget, self._caller, self._is_anonymous = budget, caller, is_anonymous
        self._size, self._holders = 0, 1

    def expect(self, size: int) -> None:
        """Find out whether so many bytes in all have room now.

        Raises:
            ProtocolError: 503 if they have none, 413 if they never have.
        """
        budget = self._budget
        if size > (most := budget.most_of(is_anonymous=self._is_anonymous)):
            raise ProtocolError(
                413,
                INVALID_REQUEST,
                f"the body takes {size} bytes of memory with what is decoded from it, a caller may take {most}: "
                "send fewer values, or several requests",
            )
        with budget.lock:
            if reason := budget.why_not(self._caller, size - self._size, is_anonymous=self._is_anonymous):
                budget.log_refusal(reason)
                raise _no_memory(reason)

    def resize(self, size: int) -> None:
        """Hold so many bytes in all. Raises: ProtocolError as `expect`."""
        with self._budget.lock:
            if size > self._size:
                self.expect(size)
            self.force(size)

    def force(self, size: int) -> None:
        """Hold so many bytes in all, whether there is room or not."""
        with self._budget.lock:
            self._budget.add(self._caller, size - self._size, is_anonymous=self._is_anonymous)
            self._size = size

    def keep(self) -> None:
        """Hold it once more."""
        with self._budget.lock:
            self._holders += 1

    def keep_for(self, task: asyncio.Task[None]) -> None:
        """Hold it until a task ends."""
        self.keep()
        task.add_done_callback(lambda _: self.release())

    def release(self) -> None:
        """Release it; with the last holder's word its bytes are free. Any thread may."""
        with self._budget.lock:
            self._holders -= 1
            if not self._holders:
                self.force(0)


def _no_memory(reason: str) -> ProtocolError:
    problem = f"no memory for the body now: {reason}; try again later"
    refusal = ProtocolError(503, INTERNAL_ERROR, problem, headers=_RETRY)
    refusal.is_logged = True
    return refusal
