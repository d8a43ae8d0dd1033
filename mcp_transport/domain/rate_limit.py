"""Rate limits as values: rates, charges, and the generic cell rate algorithm (GCRA), which decides.

The state of a bucket is its fill: the seconds until it is empty. A request adds its cost to the fill, which drains by
one second per second. It conforms if the fill then does not exceed the capacity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import LIGHT_METHODS

__all__ = [
    "GET_WEIGHT",
    "KINDS",
    "Charge",
    "Decision",
    "KeyFunction",
    "Limit",
    "Rate",
    "RateLimits",
    "conforms",
    "decide",
    "is_light",
    "limits",
    "weight_of",
]

KINDS: Final = ("caller", "session", "address", "tool")
"""What the limits of the settings count by, besides a project's own functions."""

_LIGHT: Final = 0.05
GET_WEIGHT: Final = _LIGHT
"""The weight of a GET, which is counted in a bucket of its own."""

# The part of a burst, in addition to it, that only light messages can use: a caller whose calls have used up the rate
# can still connect, cancel and reply.
_RESERVE: Final = 0.1

# The part of a burst that a node admits before the store has counted it.
_LEASE: Final = 0.05
_LARGE_LEASE: Final = 10  # requests

_UNITS: Final = {
    **dict.fromkeys(("s", "second"), 1),
    **dict.fromkeys(("min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), 3600),
    "day": 86400,
}
_RATE: Final = re.compile(rf"([1-9]\d{{0,8}})/({'|'.join(_UNITS)})(?: burst ([1-9]\d{{0,8}}))?", re.ASCII)
# The store counts thousandths of a millisecond.
_MAX_PER_SECOND: Final = 10_000

# In seconds: sums of costs are not exact.
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests per `period` (in seconds), of which up to `burst` may come at once."""

    count: int
    period: int
    burst: int

    @classmethod
    def parse(cls, text: object) -> Rate:
        """Parse a rate such as "600/min" or "50/s burst 100". Raises: ValueError."""
        match = _RATE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            units = ", ".join(_UNITS)
            expected = f"expected a rate as a count and one of {units}, such as '600/min' or '50/s burst 100'"
            raise ValueError(f"{expected}, got {text!r}")
        count, period = int(match[1]), _UNITS[match[2]]
        if count > _MAX_PER_SECOND * period:
            raise ValueError(f"expected a rate of at most {_MAX_PER_SECOND}/s, such as '600/min', got {text!r}")
        return cls(count, period, int(match[3] or count))

    def __str__(self) -> str:
        unit = next(name for name, seconds in _UNITS.items() if seconds == self.period)
        return f"{self.count}/{unit}" + ("" if self.burst == self.count else f" burst {self.burst}")


class Decision(NamedTuple):
    """Whether a request is allowed, the fill after it, and the seconds after which it would be allowed."""

    allowed: bool
    fill: float
    retry_after: float


def conforms(fill: float, cost: float, capacity: float) -> bool:
    """Return whether a request of `cost` is allowed, all in seconds."""
    return fill + cost <= capacity + _ROUNDING


def decide(fill: float, cost: float, capacity: float) -> Decision:
    """Decide by GCRA about a request of `cost` for a bucket with this fill and capacity, all in seconds."""
    fill = max(fill, 0.0)
    if conforms(fill, cost, capacity):
        return Decision(True, fill + cost, 0.0)
    return Decision(False, fill, fill + cost - capacity)


@dataclass(slots=True, eq=False)
class Limit:
    """One rate, and what it counts by: one of `KINDS`, or the name of a project's function."""

    kind: str
    rate: Rate
    setting: str = "RATE_LIMITS"
    """The setting or the option that contains the rate."""
    name: str = ""
    """Separates limits that count by the same: the tool's name, or the function's path."""
    interval: float = field(init=False)
    """The cost of a request of weight 1, in seconds."""
    capacity: float = field(init=False)
    lease: float = field(init=False)
    """The cost that a node may admit before the store has counted it."""
    has_large_lease: bool = field(init=False)
    """Is the lease so large that settling it costs little for each request?"""
    _prefix: str = field(init=False, repr=False)
    _capacity_for_light: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.interval = self.rate.period / self.rate.count
        self.capacity = self.rate.burst * self.interval
        self.lease = max(1.0, self.rate.burst * _LEASE) * self.interval
        self.has_large_lease = self.rate.burst * _LEASE >= _LARGE_LEASE
        self._capacity_for_light = self.capacity + max(1.0, self.rate.burst * _RESERVE) * self.interval
        self._prefix = f"{self.kind}\n{self.name}\n{self.rate}\n"

    def charge(self, identity: str, weight: float, *, is_light: bool) -> Charge:
        """Return the charge of a request that counts for `identity`."""
        capacity = self._capacity_for_light if is_light else self.capacity
        return Charge(self, self._prefix + identity, weight * self.interval, capacity)


KeyFunction = Callable[[Principal, HTTPRequest], str | None]
"""A project's function: it returns whom a request counts for, or None for a request that is not limited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """All limits of a server."""

    caller: tuple[Limit, ...] = ()
    session: tuple[Limit, ...] = ()
    address: tuple[Limit, ...] = ()
    tool: tuple[Limit, ...] = ()
    """Each caller's limits for each tool that is not in `tools`."""
    tools: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    """Each caller's limits for some tools, by name."""
    functions: tuple[tuple[KeyFunction, tuple[Limit, ...]], ...] = ()
    refuses_without_store: bool = False
    """Are requests refused while the store does not answer? Otherwise each process counts alone."""

    @property
    def are_set(self) -> bool:
        """Return whether there is a limit."""
        return any((self.caller, self.session, self.address, self.tool, self.tools, self.functions))


@dataclass(slots=True)  # never changed; not frozen: see `protocol.http`
class Charge:
    """What one request costs in one bucket, and the capacity up to which it conforms, both in seconds."""

    limit: Limit
    bucket: str
    """The bucket's name, which contains the limit's."""
    cost: float
    capacity: float


def limits(
    kind: str, rates: str | Iterable[str], *, setting: str = "RATE_LIMITS", name: str = ""
) -> tuple[Limit, ...]:
    """Return the limits for a rate or several. Raises: ValueError for a value that is no rate."""
    if not isinstance(rates, str | list | tuple):
        Rate.parse(rates)
    texts = [rates] if isinstance(rates, str) else list(rates)
    if not texts:
        raise ValueError("expected a rate or a list of rates, such as '600/min', got an empty list")
    return tuple(Limit(kind, rate, setting, name) for rate in dict.fromkeys(map(Rate.parse, texts)))


def is_light(method: str) -> bool:
    """Return whether requests with this method run no function of the project."""
    return method in LIGHT_METHODS


def weight_of(light: int, heavy: int) -> float:
    """Return the weight of a POST with so many light messages, and so many others."""
    return light * _LIGHT + heavy
