"""The bytes that one caller's streams may have in the logs at a time, so that no caller fills the store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from mcp_transport.domain.policy import Policy
from mcp_transport.protocol.errors import refused_for_load

__all__ = ["LogQuota"]

# Callers that a node remembers; the one that logged least recently is dropped.
_MAX_CALLERS: Final = 10_000


class LogQuota:
    """A leaky bucket for each caller: what it logs fills the bucket, which drains in the time that logs are kept.

    Calls that run may log on, each up to the size of its stream's log; new ones are refused while the bucket is full.
    """

    def __init__(self, policy: Policy, now: Callable[[], float]) -> None:
        self._limit, self._now = policy.max_stored_bytes_per_caller, now
        self._drained_per_second = self._limit / max(policy.stream_keep, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.exceeded: set[str] = set()
        """The callers that may have to wait: `check` tells."""

    def add(self, caller: str, size: int) -> None:
        """Count the bytes of events that were logged."""
        filled = self._fill(caller) + size
        self._buckets[caller] = filled, self._now()
        self._buckets.move_to_end(caller)
        if filled > self._limit:
            self.exceeded.add(caller)
        if len(self._buckets) > _MAX_CALLERS:
            dropped, _ = self._buckets.popitem(last=False)
            self.exceeded.discard(dropped)

    def check(self, caller: str) -> None:
        """Check that a caller may log more. Raises: ProtocolError, 429."""
        excess = self._fill(caller) - self._limit
        if excess <= 0:
            self.exceeded.discard(caller)
            return
        seconds = excess / self._drained_per_second
        message = (
            f"the streams of this caller have more than {self._limit} bytes in the logs "
            f"(MAX_STORED_BYTES_PER_CALLER): try again in {seconds:.0f} s"
        )
        raise refused_for_load(
            429, message, limit="MAX_STORED_BYTES_PER_CALLER", key="caller", seconds=max(seconds, 1.0)
        )

    def _fill(self, caller: str) -> float:
        filled, at = self._buckets.get(caller, (0.0, 0.0))
        return max(0.0, filled - (self._now() - at) * self._drained_per_second)
