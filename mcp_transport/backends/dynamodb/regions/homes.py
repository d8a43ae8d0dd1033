"""The home of each session: decided from the claims that regions have made, and remembered for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mcp_transport.protocol.cursor import WRITER_SPAN

__all__ = ["MAX_EPOCH", "MAX_REGIONS", "Claim", "Home", "Homes", "first_number", "gives", "newest"]

MAX_REGIONS: Final = 16
"""The most regions of a table: each has numbers of its own in each epoch."""

MAX_EPOCH: Final = 1000
"""How often a session can get another home: the numbers of its events end there."""

# How many take-overs of a stream have numbers of their own within an epoch: a call is given up after two.
_SPANS: Final = 50

# How many sessions a process remembers the homes of.
_MAX_REMEMBERED: Final = 20_000


class Home(NamedTuple):
    """A session's home: the greatest wins. Epoch 0 is that of the region in which the session was opened."""

    epoch: int
    region: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A region's claim to be the home of a session."""

    home: Home
    version: int | None
    """That of its item, for a conditional write."""
    is_bare: bool = False
    """Had the replica no record of the session, which is then rebuilt from its id?"""


def newest(claims: Iterable[Claim]) -> Claim | None:
    """Return the claim that decides."""
    return max(claims, key=lambda claim: claim.home, default=None)


def first_number(home: Home, regions: Iterable[str]) -> int:
    """Return the number after which those of a session's events begin in a home.

    No other home gives them: each region has its own in each epoch, so that two regions that are homes at once,
    because they cannot see each other, name no event alike.
    """
    return (home.epoch * MAX_REGIONS + sorted(regions).index(home.region)) * _SPANS * WRITER_SPAN


def gives(home: Home, regions: Iterable[str], number: int) -> bool:
    """Return whether a number is one of those that a home gives to events, and not another one."""
    epoch, place = divmod(number // (_SPANS * WRITER_SPAN), MAX_REGIONS)
    return epoch == home.epoch and (epoch == 0 or place == sorted(regions).index(home.region))


@dataclass(slots=True)
class _Remembered:
    origin: str | None
    home: Home | None = None
    verified: float = float("-inf")


class Homes:
    """Remembers the homes of the sessions that the process has used last; times are monotonic.

    A home that was verified more than `seconds` ago may have changed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._of = dict[str, _Remembered]()

    def locate(self, key: str, origin: Callable[[], str]) -> None:
        """Remember in which region a session was opened, unless the process knows its home."""
        if key not in self._of:
            self._put(key, _Remembered(origin() or None))

    def origin(self, key: str) -> str | None:
        """Return the region in which a session was opened, None if that is unknown."""
        remembered = self._of.get(key)
        return remembered.origin if remembered is not None else None

    def last(self, key: str) -> Home | None:
        """Return the home of a session as it was when it was verified last, None if it never was."""
        remembered = self._of.get(key)
        return remembered.home if remembered is not None else None

    def current(self, key: str, now: float) -> Home | None:
        """Return the home of a session, None if it must be verified."""
        remembered = self._of.get(key)
        if remembered is None or now - remembered.verified >= self._seconds:
            return None
        self._of[key] = self._of.pop(key, remembered)  # the last one to be forgotten
        return remembered.home

    def remember(self, key: str, home: Home, now: float) -> Home:
        """Remember a home that was read now, unless a newer one is known; return the newer one."""
        remembered = self._of.pop(key, None) or _Remembered(home.region if home.epoch == 0 else None)
        remembered.home = home if remembered.home is None else max(home, remembered.home)
        remembered.verified = now
        self._put(key, remembered)
        return remembered.home

    def _put(self, key: str, remembered: _Remembered) -> None:
        while len(self._of) >= _MAX_REMEMBERED:
            self._of.pop(next(iter(self._of)), None)
        self._of[key] = remembered
