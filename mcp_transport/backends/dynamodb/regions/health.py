"""Whether another region answers, and whether it is lost: decided from what one process has observed of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Set
from typing import Any, Final

from mcp_transport.backends.dynamodb.client import AnswerObserver

__all__ = ["HealthObserver", "RegionHealth"]

# The first pause between two probes of a region, doubled with each failure up to the last one.
_FIRST_PAUSE_SECONDS: Final = 0.5
_LAST_PAUSE_SECONDS: Final = 4.0

# So many requests in a row must have failed, however long it takes.
_MIN_FAILURES: Final = 3
# Failures are two outages if they are further apart than this many times `lost_seconds`, and than a minute: a request
# fails only after tens of seconds if the name cannot be resolved, or if the network drops packets.
_MAX_GAP: Final = 4.0
_MIN_GAP_SECONDS: Final = 60.0

logger = logging.getLogger(__name__)


class RegionHealth:
    """A region as one process observes it; all times are those of a monotonic clock.

    The region is lost once both hold for `lost_seconds`: its endpoint has answered nothing, and the local replica has
    shown no renewal of the leases there. A path that is broken for this process alone leaves the renewals.
    """

    def __init__(self, lost_seconds: float) -> None:
        self._lost_seconds = lost_seconds
        self._failing_since = self._last_failure = self._next_probe = 0.0
        self._failures = 0
        self._leases: Set[Any] = frozenset()
        self._leases_since: float | None = None
        self._observed = 0.0
        self._probing = False

    @property
    def is_failing(self) -> bool:
        """Return whether the last request to the region has failed."""
        return self._failures > 0

    def answered(self) -> bool:
        """Record an answer; return whether the region has failed before."""
        was_failing = self.is_failing
        if was_failing:
            self._failures, self._leases_since = 0, None
        return was_failing

    def failed(self, now: float) -> bool:
        """Record a request without an answer; return whether it is the first one."""
        max_gap = max(_MAX_GAP * self._lost_seconds, _MIN_GAP_SECONDS)
        is_first = not self.is_failing or now - self._last_failure > max_gap
        if is_first:
            self._failing_since, self._failures, self._leases_since = now, 0, None
        self._failures += 1
        self._last_failure = now
        if is_first:  # later ones are no reason to wait: nodes that have joined the region fail all the time
            self._plan_probe(now)
        return is_first

    def _plan_probe(self, now: float) -> None:
        pause = _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10)
        self._next_probe = now + min(_LAST_PAUSE_SECONDS, self._lost_seconds / 4, pause)

    def begin_probe(self, now: float) -> bool:
        """Return whether a probe is due; then it has begun, and others are not due until `end_probe`."""
        if self._probing or now < self._next_probe:
            return False
        self._probing = True
        return True

    def end_probe(self, now: float) -> None:
        """Record the end of a probe, after its outcome."""
        self._probing = False
        self._plan_probe(now)

    def observe_leases(self, leases: Set[Any], now: float) -> None:
        """Record the leases of the region's nodes, as the local replica has them; those of dead nodes only vanish."""
        if self._leases_since is None or not leases <= self._leases:
            self._leases_since = now
        self._leases, self._observed = leases, now

    @property
    def is_lost(self) -> bool:
        """Return whether the region is lost."""
        if self._failures < _MIN_FAILURES or self._leases_since is None:
            return False
        return self._observed - max(self._failing_since, self._leases_since) >= self._lost_seconds


class HealthObserver(AnswerObserver):
    """Records what the clients of a region's endpoint observe, on all loops of the process."""

    def __init__(self, region: str, health: RegionHealth, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._region, self.health, self.monotonic, self._lock = region, health, monotonic, threading.Lock()

    def answered(self) -> None:
        if not self.health.is_failing:
            return
        with self._lock:
            returned = self.health.answered()
        if returned:
            logger.warning("the region %s answers again", self._region)

    def failed(self) -> None:
        with self._lock:
            is_first = self.health.failed(self.monotonic())
        if is_first:
            logger.warning("the region %s does not answer: requests of its sessions are refused", self._region)
