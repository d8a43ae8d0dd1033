"""When an endpoint that failed is tried again, and how many retries a client makes: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["Circuit", "RetryBudget", "wait_after"]

_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 10.0


def wait_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, and one more."""
    return min(_FIRST_WAIT * 2.0 ** min(failures, 16), _LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Circuit:
    """Closed while an endpoint works, open for longer with each failure, then half-open: one request tries it.

    Times are seconds of any one clock.
    """

    failures: int = 0
    """Failures since the last success."""
    until: float = 0.0
    """When it lets the next request through."""

    def lets_through(self, now: float) -> bool:
        """Tell whether a request may go to the endpoint."""
        return now >= self.until

    def trying(self, now: float, seconds: float) -> Circuit:
        """Return the circuit while a request is under way: of a half-open one, the only one for some `seconds`."""
        return replace(self, until=now + seconds) if self.failures else self

    def failed(self, now: float, retry_after: float = 0.0) -> Circuit:
        """Return the circuit after a failure; the endpoint may have said when to come back."""
        return Circuit(failures=self.failures + 1, until=now + max(wait_after(self.failures), retry_after))

    def resting(self, now: float, seconds: float) -> Circuit:
        """Return the circuit of an endpoint that works and asks not to be sent anything for some `seconds`."""
        return replace(self, until=max(self.until, now + seconds))


@dataclass(slots=True)
class RetryBudget:
    """Bounds the retries of a client, whichever of its requests they are for, so that retries do not pile up.

    A bucket of `most` tokens, filled by `per_second`.
    """

    most: float = 100.0
    per_second: float = 10.0
    left: float = 100.0
    filled: float = 0.0
    """When it was filled up last."""

    def take(self, now: float) -> bool:
        """Take a token for one retry; return False when none is left."""
        self.left = min(self.most, self.left + max(0.0, now - self.filled) * self.per_second)
        self.filled = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True
