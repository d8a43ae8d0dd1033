"""A node's lease, as the node sees it: whether others may have declared it dead, and whether it may declare them."""

from __future__ import annotations

from typing import Final

__all__ = ["Lease"]

# A lease is renewed so often in its time.
_RENEWALS: Final = 3

# A node that has not renewed its lease for this share of it may have been blocked, and may have lost it.
_SAFE_SHARE: Final = 0.9

# Leases lapse at different times: a node whose own lease has outlived an outage of the store may see those of others
# lapsed. That takes an outage of two thirds of a lease; a renewal that is overdue by half an interval may be one.
_LATE_SHARE: Final = 1.5 / _RENEWALS


class Lease:
    """Decides from the renewals of a lease; all times are seconds of the caller's clock."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._renewed = self._grace_until = self.next_renewal = now
        self.held_until = now + seconds * _SAFE_SHARE
        """Until then, others cannot have declared this node dead."""

    def renewing(self, now: float) -> None:
        """Record that a renewal begins; unless the lease may be lost already, its answer may take time."""
        if now <= self.held_until:
            self.held_until = now + self._seconds * _SAFE_SHARE

    def renewed(self, began: float, *, lapsed: bool) -> None:
        """Record a renewal. After a lapse or an outage, others get the time of a lease to renew theirs."""
        if lapsed or self._is_late(began):
            self._grace_until = began + self._seconds
        self._renewed, self.next_renewal = began, began + self._seconds / _RENEWALS
        self.held_until = began + self._seconds * _SAFE_SHARE

    def may_declare_dead(self, now: float) -> bool:
        """Return whether this node has reached the store for long enough to trust that a lapsed lease is a death."""
        return now >= self._grace_until and not self._is_late(now)

    def grace_left(self, now: float, *, restart: bool = False) -> float:
        """Return the seconds until this node may declare others dead; with `restart`, a whole lease from now on."""
        if restart or self._is_late(now):
            self._grace_until = now + self._seconds
        return max(0.0, self._grace_until - now)

    def _is_late(self, now: float) -> bool:
        return now - self._renewed > self._seconds * _LATE_SHARE
