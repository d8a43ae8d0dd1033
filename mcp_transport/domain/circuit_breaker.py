"""The circuit breaker of a tool: while too many of its calls fail, further calls are refused at once.

Times are seconds of one monotonic clock, except in `BreakerRecord`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from mcp_transport.exceptions import DefinitionError

__all__ = ["BreakerRecord", "BreakerState", "Circuit", "CircuitBreaker", "Permit", "Result", "merge_records"]

_SLOTS: Final = 10
"""The window slides in steps of a tenth of its length."""
_MAX_DOUBLINGS: Final = 30


class BreakerState(StrEnum):
    """What a circuit breaker does with calls."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class Result(StrEnum):
    """What a call shows about what its tool depends on: nothing, if its function was not called or was cancelled."""

    SUCCESS = "success"
    FAILURE = "failure"
    NOTHING = "nothing"


class Permit(NamedTuple):
    """The permission to run one call."""

    episode: int
    probe: int
    """The number of the probe; 0 for a call that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """Open the circuit when `failure_rate` of the calls within `window` seconds have failed, of `min_calls` at least.

    Calls are then refused for `open_for` seconds, and for twice as long after each probe that fails, up to
    `max_open_for`. `failures` are the exceptions that count as failures; a timeout always does.

    Raises:
        DefinitionError: an option is out of its range.
    """

    failure_rate: float = 0.5
    window: float = 30.0
    min_calls: int = 10
    open_for: float = 10.0
    max_open_for: float = 300.0
    failures: tuple[type[BaseException], ...] = (Exception,)

    def __post_init__(self) -> None:
        count: Any = self.min_calls
        kinds: Any = self.failures
        is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 1
        are_kinds = isinstance(kinds, tuple) and bool(kinds) and all(isinstance(kind, type) for kind in kinds)
        seconds = "a number of seconds above 0"
        _check("failure_rate", self.failure_rate, "above 0, at most 1", 0.0 < _number(self.failure_rate) <= 1.0)
        _check("window", self.window, seconds, 0.0 < _number(self.window) < math.inf)
        _check("min_calls", count, "an integer, 1 or more", is_count)
        _check("open_for", self.open_for, seconds, 0.0 < _number(self.open_for) < math.inf)
        is_later = _number(self.open_for) <= _number(self.max_open_for) < math.inf
        _check("max_open_for", self.max_open_for, "a number of seconds, not less than open_for", is_later)
        are_exceptions = are_kinds and all(issubclass(kind, BaseException) for kind in kinds)
        _check("failures", kinds, "a tuple of exception classes", are_exceptions)

    def seconds_open(self, openings: int) -> float:
        """Return for how long the circuit is open after so many openings in a row."""
        return min(self.max_open_for, self.open_for * 2.0 ** min(openings - 1, _MAX_DOUBLINGS))


def _number(value: Any) -> float:
    """Return a number, or NaN, which is within no range, for anything else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _check(name: str, value: Any, expected: str, is_valid: bool) -> None:
    if not is_valid:
        raise DefinitionError(f"CircuitBreaker: {name} must be {expected}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The state of one tool's circuit breaker, whose options are passed to each method."""

    counts: tuple[tuple[int, int, int], ...] = ()
    """The number of each slot of the window, oldest first, with its calls and failures."""
    episode: int = 0
    """Changes whenever the circuit opens or closes, so that calls which began before have no effect."""
    openings: int = 0
    """How often the circuit has opened in a row; 0 while it is closed."""
    since: float = 0.0
    """When it was last closed."""
    open_until: float = 0.0
    probe: int = 0
    """The number of the probe that runs; 0 if none does."""
    probe_until: float = 0.0
    """When the probe counts as failed, although it has not returned."""
    last_probe: int = 0

    @property
    def is_closed(self) -> bool:
        """Return whether calls run."""
        return not self.openings

    def state(self, breaker: CircuitBreaker, now: float) -> BreakerState:
        """Return what the circuit does with calls."""
        circuit = self._at(breaker, now)
        if circuit.is_closed:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if circuit.probe or now >= circuit.open_until else BreakerState.OPEN

    def seconds_refused(self, breaker: CircuitBreaker, now: float) -> float:
        """Return for how long calls are refused; 0 if one may run now."""
        circuit = self._at(breaker, now)
        if circuit.is_closed:
            return 0.0
        return max(0.0, circuit.probe_until - now if circuit.probe else 0.0, circuit.open_until - now)

    def enter(self, breaker: CircuitBreaker, now: float) -> tuple[Circuit, Permit | None]:
        """Return the circuit with one more call and its permit, or None for a call that is refused."""
        circuit = self._at(breaker, now)
        if circuit.is_closed:
            return circuit, Permit(circuit.episode, 0)
        if circuit.probe or now < circuit.open_until:
            return circuit, None
        number = circuit.last_probe + 1
        circuit = replace(circuit, probe=number, last_probe=number, probe_until=now + breaker.open_for)
        return circuit, Permit(circuit.episode, number)

    def settle(self, breaker: CircuitBreaker, permit: Permit, result: Result, now: float) -> Circuit:
        """Return the circuit after a call."""
        circuit = self._at(breaker, now)
        if permit.episode != circuit.episode:
            return circuit
        if circuit.is_closed:
            return circuit if result is Result.NOTHING else circuit._counted(breaker, result, now)
        if result is Result.SUCCESS:  # also of a probe that is late: a slow tool must not stay open
            return circuit.closed()
        if permit.probe != circuit.probe:
            return circuit  # it has counted as failed already
        return circuit._reopened(breaker, now) if result is Result.FAILURE else replace(circuit, probe=0)

    def opened_elsewhere(self, breaker: CircuitBreaker, seconds: float, now: float) -> Circuit:
        """Return the circuit after another node's has opened for `seconds`; a probe that runs here goes on."""
        circuit = self._at(breaker, now)
        until = now + min(max(0.0, seconds), breaker.max_open_for)
        if circuit.is_closed:
            return circuit._opened(until, now)
        return replace(circuit, open_until=max(circuit.open_until, until))

    def closed(self) -> Circuit:
        """Return the circuit after it has closed, here or on another node; earlier calls do not count any more."""
        return self if self.is_closed else Circuit(episode=self.episode + 1, last_probe=self.last_probe)

    def has_ended(self, permit: Permit) -> bool:
        """Return whether a call that has a permit must not begin any more."""
        return permit.episode != self.episode and not self.is_closed

    def _at(self, breaker: CircuitBreaker, now: float) -> Circuit:
        """Return the circuit after a probe that has not returned in time has counted as failed."""
        if not self.probe or now < self.probe_until:
            return self
        return self._reopened(breaker, self.probe_until)

    def _counted(self, breaker: CircuitBreaker, result: Result, now: float) -> Circuit:
        slot, failed, counts = int(now // (breaker.window / _SLOTS)), result is Result.FAILURE, self.counts
        if counts and counts[-1][0] == slot:
            calls, failures = counts[-1][1:]
            counts = (*counts[:-1], (slot, calls + 1, failures + failed))
        else:
            counts = (*(item for item in counts if item[0] > slot - _SLOTS), (slot, 1, int(failed)))
        calls, failures = sum(item[1] for item in counts), sum(item[2] for item in counts)
        if calls >= breaker.min_calls and failures and failures >= breaker.failure_rate * calls:
            return self._opened(now + breaker.seconds_open(1), now)
        return replace(self, counts=counts)

    def _opened(self, until: float, now: float) -> Circuit:
        episode, last_probe = self.episode + 1, self.last_probe
        return Circuit(episode=episode, openings=1, since=now, open_until=until, last_probe=last_probe)

    def _reopened(self, breaker: CircuitBreaker, when: float) -> Circuit:
        openings = self.openings + 1
        until = max(self.open_until, when + breaker.seconds_open(openings))
        return replace(self, openings=openings, open_until=until, probe=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRecord:
    """A circuit breaker that is not closed, in one process or in several; times are seconds since the epoch."""

    tool: str
    state: BreakerState
    since: float
    until: float
    """When the next call may run."""
    processes: int = 1
    """In how many processes it is not closed."""

    def to_json(self) -> list[Any]:
        """Convert to JSON values."""
        return [self.tool, self.state, round(self.since, 3), round(self.until, 3)]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> BreakerRecord:
        """Parse the value of `to_json`. Raises: ValueError, TypeError for anything else."""
        tool, state, since, until, *_ = value
        if not isinstance(tool, str) or not all(0 <= _number(time) < 1e11 for time in (since, until)):
            raise ValueError("not a circuit breaker")
        return cls(tool=tool, state=BreakerState(state), since=since, until=until)


def merge_records(records: Iterable[BreakerRecord]) -> tuple[BreakerRecord, ...]:
    """Return one record of each tool: open if one of its circuits is."""
    merged: dict[str, BreakerRecord] = {}
    for record in records:
        earlier = merged.get(record.tool)
        merged[record.tool] = record if earlier is None else _merged(earlier, record)
    return tuple(merged[tool] for tool in sorted(merged))


def _merged(one: BreakerRecord, other: BreakerRecord) -> BreakerRecord:
    is_open = BreakerState.OPEN in (one.state, other.state)
    return BreakerRecord(
        tool=one.tool,
        state=BreakerState.OPEN if is_open else one.state,
        since=min(one.since, other.since),
        until=max(one.until, other.until),
        processes=one.processes + other.processes,
    )
