"""Circuit breaker and retry budget of a client: pure decisions about when to retry an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["Circuit", "RetryBudget", "backoff"]

_FIRST_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 10.0


def backoff(failures: int) -> float:
    """Return the seconds to wait after one more failure than `failures` in a row."""
    return min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 16), _MAX_BACKOFF_SECONDS)


@dataclass(frozen=True, slots=True)
class Circuit:
    """Closed while an endpoint works, open for longer with each failure, then half-open for one request.

    Times are seconds of one clock, any clock.
    """

    failures: int = 0
    """Failures since the last success."""
    open_until: float = 0.0
    """When the next request is allowed."""

    def allows(self, now: float, begins_work: bool = True) -> bool:
        """Return whether a request may go to the endpoint; a pause only delays those that begin work."""
        return now >= self.open_until or not (self.failures or begins_work)

    def probing(self, now: float, seconds: float) -> Circuit:
        """Return the circuit during a request; a half-open one allows no other request for `seconds`."""
        return replace(self, open_until=now + seconds) if self.failures else self

    def failed(self, now: float, retry_after: float = 0.0) -> Circuit:
        """Return the circuit after a failure; the endpoint may have sent Retry-After."""
        return Circuit(failures=self.failures + 1, open_until=now + max(backoff(self.failures), retry_after))

    def paused(self, now: float, seconds: float) -> Circuit:
        """Return the circuit of a working endpoint that asked for a pause of `seconds`."""
        return replace(self, open_until=max(self.open_until, now + seconds))


@dataclass(slots=True)
class RetryBudget:
    """Limits the retries of all requests of a client, so that retries do not overload a failing service.

    A token bucket of `capacity`, refilled at the rate `per_second`.
    """

    capacity: float = 100.0
    per_second: float = 10.0
    tokens: float = 100.0
    refilled_at: float = 0.0
    """When the bucket was last refilled."""

    def take(self, now: float) -> bool:
        """Take a token for one retry; return False when none is left."""
        self.tokens = min(self.capacity, self.tokens + max(0.0, now - self.refilled_at) * self.per_second)
        self.refilled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
