"""The circuit breaker of a tool: when it opens, who probes, when it closes; and whole schedules beside an oracle."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.circuit_breaker import (
    BreakerRecord,
    BreakerState,
    Circuit,
    CircuitBreaker,
    Permit,
    Result,
    merge_records,
)
from mcp_transport.exceptions import DefinitionError

BREAKER = CircuitBreaker(failure_rate=0.5, window=10, min_calls=4, open_for=8, max_open_for=20)
SUCCESS, FAILURE, NOTHING = Result.SUCCESS, Result.FAILURE, Result.NOTHING
CLOSED, HALF_OPEN, OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN


class Run:
    """A circuit and what becomes of it; `at` is the time."""

    def __init__(self, breaker: CircuitBreaker = BREAKER) -> None:
        self.breaker, self.circuit, self.at = breaker, Circuit(), 1000.0

    @property
    def state(self) -> BreakerState:
        return self.circuit.state(self.breaker, self.at)

    @property
    def seconds(self) -> float:
        return self.circuit.seconds_refused(self.breaker, self.at)

    def enter(self) -> Permit | None:
        self.circuit, permit = self.circuit.enter(self.breaker, self.at)
        return permit

    def begin(self) -> Permit:
        permit = self.enter()
        assert permit is not None
        return permit

    def end(self, permit: Permit, result: Result) -> None:
        self.circuit = self.circuit.settle(self.breaker, permit, result, self.at)

    def calls(self, *results: Result) -> None:
        for result in results:
            self.end(self.begin(), result)

    def opened(self) -> Run:
        self.calls(*[FAILURE] * self.breaker.min_calls)
        assert self.state is OPEN
        return self


def test_it_opens_at_the_rate_but_not_before_so_many_calls() -> None:
    run = Run()
    run.calls(FAILURE, FAILURE, SUCCESS)
    assert run.state is CLOSED
    run.calls(SUCCESS)
    assert (run.state, run.seconds, run.enter()) == (OPEN, 8, None), "half of four calls"
    other = Run()
    other.calls(SUCCESS, SUCCESS, SUCCESS, FAILURE, FAILURE)
    assert other.state is CLOSED, "two of five"


def test_what_says_nothing_does_not_count() -> None:
    run = Run()
    run.calls(FAILURE, FAILURE, FAILURE, *[NOTHING] * 10)
    assert run.state is CLOSED
    run.calls(FAILURE)
    assert run.state is OPEN


def test_failures_that_left_the_window_do_not_count() -> None:
    run = Run()
    run.calls(FAILURE, FAILURE, FAILURE)
    run.at += 10
    run.calls(FAILURE)
    assert run.state is CLOSED
    assert len(run.circuit.counts) == 1


def test_the_window_is_bounded_in_memory() -> None:
    run = Run()
    for _ in range(1000):
        run.at += 0.3
        run.calls(SUCCESS)
    assert len(run.circuit.counts) <= 10
    assert sum(calls for _, calls, _ in run.circuit.counts) <= 34


def test_one_probe_runs_and_closes_it() -> None:
    run = Run().opened()
    run.at += 7.9
    assert run.enter() is None
    run.at += 0.1
    assert (run.state, run.seconds) == (HALF_OPEN, 0)
    probe = run.begin()
    assert probe.probe and run.enter() is None and run.seconds == 8
    run.end(probe, SUCCESS)
    assert run.state is CLOSED
    run.calls(FAILURE, FAILURE, FAILURE)
    assert run.state is CLOSED, "it begins anew"


def test_it_is_open_for_longer_after_each_probe_that_fails_up_to_a_bound() -> None:
    run, durations = Run().opened(), []
    for _ in range(4):
        run.at += run.seconds
        run.end(run.begin(), FAILURE)
        durations.append(run.seconds)
    assert durations == [16, 20, 20, 20]
    assert run.circuit.since == 1000
    assert CircuitBreaker().seconds_open(10_000) == 300


def test_a_cancelled_probe_makes_room_for_the_next() -> None:
    run = Run().opened()
    run.at += 8
    run.end(run.begin(), NOTHING)
    assert run.state is HALF_OPEN
    run.end(run.begin(), SUCCESS)
    assert run.state is CLOSED


def test_a_probe_that_does_not_return_counts_as_failed_and_closes_it_if_it_returns_after_all() -> None:
    run = Run().opened()
    run.at += 8
    probe = run.begin()
    run.at += 8
    assert (run.state, run.seconds) == (OPEN, 16)
    run.end(probe, FAILURE)
    assert run.seconds == 16, "it has failed once"
    run.at += 16
    second = run.begin()
    run.end(probe, NOTHING)
    assert run.enter() is None, "the end of the first probe is not that of the second"
    run.end(probe, SUCCESS)
    assert run.state is CLOSED
    run.end(second, FAILURE)
    assert run.circuit.counts == (), "nor does the second count any more"


@pytest.mark.parametrize("result", list(Result))
def test_calls_that_began_before_it_opened_have_no_effect(result: Result) -> None:
    run = Run()
    late = run.begin()
    run.opened()
    before = run.circuit
    assert before.has_ended(late)
    run.end(late, result)
    assert run.circuit == before
    run.at += 8
    run.calls(SUCCESS)
    assert run.state is CLOSED and not run.circuit.has_ended(late), "it may run, and does not count"
    run.end(late, result)
    assert run.circuit.counts == ()


def test_another_nodes_opening_is_taken_over_with_a_bound() -> None:
    run = Run()
    running = run.begin()
    run.circuit = run.circuit.opened_elsewhere(BREAKER, 5, run.at)
    assert (run.state, run.seconds, run.circuit.has_ended(running)) == (OPEN, 5, True)
    run.circuit = run.circuit.opened_elsewhere(BREAKER, 3, run.at)
    assert run.seconds == 5, "never shorter"
    run.circuit = run.circuit.opened_elsewhere(BREAKER, 1e9, run.at)
    assert run.seconds == 20
    for nonsense in (-5.0, math.nan):
        assert Circuit().opened_elsewhere(BREAKER, nonsense, run.at).seconds_refused(BREAKER, run.at) == 0


def test_an_opening_elsewhere_leaves_the_probe_here_alone() -> None:
    run = Run().opened()
    run.at += 8
    probe = run.begin()
    run.circuit = run.circuit.opened_elsewhere(BREAKER, 8, run.at)
    assert run.enter() is None and run.state is HALF_OPEN
    run.end(probe, SUCCESS)
    assert run.state is CLOSED


def test_closing_forgets_the_past_and_a_closed_one_stays_as_it_is() -> None:
    run = Run()
    run.calls(FAILURE)
    assert run.circuit.closed() is run.circuit
    run = Run().opened()
    probe = Permit(run.circuit.episode, 1)
    run.circuit = run.circuit.closed()
    assert run.state is CLOSED
    run.end(probe, FAILURE)
    assert run.circuit.counts == ()


@pytest.mark.parametrize(
    "options",
    [
        *({"failure_rate": value} for value in (0, -1, 1.1, math.nan, "1", True)),
        *({"window": value} for value in (0, math.inf, None)),
        *({"min_calls": value} for value in (0, 1.5, True)),
        *({"open_for": value} for value in (0, math.inf, math.nan)),
        {"open_for": 10, "max_open_for": 9},
        *({"failures": value} for value in ((), ConnectionError, (int,), ("ValueError",), [ValueError])),
    ],
    ids=repr,
)
def test_options_out_of_range_are_refused_where_they_are_declared(options: dict[str, Any]) -> None:
    name = "max_open_for" if "max_open_for" in options else next(iter(options))
    with pytest.raises(DefinitionError, match=f"CircuitBreaker: {name} must be"):
        CircuitBreaker(**options)


# -- records ---------------------------------------------------------------------------------------------


def record(tool: str = "a", state: BreakerState = OPEN, since: float = 5.0, until: float = 9.0) -> BreakerRecord:
    return BreakerRecord(tool=tool, state=state, since=since, until=until)


def test_records_of_several_processes_are_merged_by_tool() -> None:
    merged = merge_records([record("b"), record(state=HALF_OPEN, since=3), record(until=11), record(state=HALF_OPEN)])
    assert merged == (BreakerRecord(tool="a", state=OPEN, since=3, until=11, processes=3), record("b"))
    assert merge_records([record(state=HALF_OPEN)] * 2)[0].state is HALF_OPEN


def test_records_survive_the_way_to_another_process() -> None:
    assert BreakerRecord.from_json(record().to_json()) == record()
    assert BreakerRecord.from_json([*record().to_json(), "of a later release"]) == record()


UNREADABLE = [["a", "open", 1], ["a", "ajar", 1, 2], [7, "open", 1, 2], ["a", "open", -1, 2], ["a", "open", 1, 1e12]]


@pytest.mark.parametrize("value", UNREADABLE)
def test_unreadable_records_are_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        BreakerRecord.from_json(value)


# -- generated schedules ---------------------------------------------------------------------------------


class Oracle:
    """The same rules, written as a story with a list of all calls."""

    def __init__(self) -> None:
        self.log: list[tuple[float, bool]] = []
        self.fails_in_a_row, self.until, self.deadline = 0, 0.0, 0.0
        self.probe: object | None = None
        self.era = object()

    def tick(self, now: float) -> None:
        if self.probe is not None and now >= self.deadline:
            self.fail(self.deadline)

    def fail(self, when: float) -> None:
        self.probe, self.fails_in_a_row = None, self.fails_in_a_row + 1
        self.until = max(self.until, when + min(20, 8 * 2 ** (self.fails_in_a_row - 1)))

    def shut(self) -> None:
        self.log, self.fails_in_a_row, self.probe, self.until, self.era = [], 0, None, 0.0, object()

    def enter(self, now: float) -> tuple[object, object] | None:
        self.tick(now)
        if not self.fails_in_a_row:
            return self.era, None
        if self.probe is not None or now < self.until:
            return None
        self.probe, self.deadline = object(), now + 8
        return self.era, self.probe

    def end(self, permit: tuple[object, object], result: Result, now: float) -> None:
        self.tick(now)
        era, probe = permit
        if era is not self.era:
            return
        if not self.fails_in_a_row:
            if result is not NOTHING:
                self.log.append((now, result is FAILURE))
                seen = [failed for when, failed in self.log if math.floor(when) > math.floor(now) - 10]
                if len(seen) >= 4 and sum(seen) * 2 >= len(seen):
                    self.shut()
                    self.fail(now)
        elif result is SUCCESS:
            self.shut()
        elif probe is self.probe and result is FAILURE:
            self.fail(now)
        elif probe is self.probe:
            self.probe = None

    def heard(self, seconds: float, now: float) -> None:
        self.tick(now)
        if not self.fails_in_a_row:
            self.shut()
            self.fails_in_a_row = 1
        self.until = max(self.until, now + min(20, seconds))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("enter"), st.integers(1, 5)),
        st.tuples(st.just("end"), st.integers(0, 7), st.sampled_from(Result)),
        st.tuples(st.just("fail"), st.integers(1, 6)),
        st.tuples(st.just("heard"), st.integers(0, 30)),
        st.tuples(st.just("close")),
    ),
    max_size=60,
)


class Both:
    """A circuit and the oracle, which go through the same."""

    def __init__(self) -> None:
        self.run, self.oracle = Run(), Oracle()
        self.running: list[tuple[Permit, tuple[object, object]]] = []

    def wait(self, quarters: int) -> None:
        self.run.at += quarters / 4

    def enter(self, count: int) -> None:
        for _ in range(count):
            permit, expected = self.run.enter(), self.oracle.enter(self.run.at)
            assert (permit is None) == (expected is None)
            if permit is not None and expected is not None:
                assert bool(permit.probe) == (expected[1] is not None)
                self.running.append((permit, expected))

    def end(self, index: int, result: Result) -> None:
        if self.running:
            permit, expected = self.running.pop(index % len(self.running))
            self.run.end(permit, result)
            self.oracle.end(expected, result, self.run.at)

    def fail(self, count: int) -> None:
        for _ in range(count):
            before = len(self.running)
            self.enter(1)
            if len(self.running) > before:
                self.end(-1, FAILURE)

    def heard(self, seconds: int) -> None:
        self.run.circuit = self.run.circuit.opened_elsewhere(BREAKER, seconds, self.run.at)
        self.oracle.heard(seconds, self.run.at)

    def close(self) -> None:
        self.run.circuit = self.run.circuit.closed()
        if self.oracle.fails_in_a_row:
            self.oracle.shut()

    def expected(self) -> BreakerState:
        self.oracle.tick(self.run.at)
        if not self.oracle.fails_in_a_row:
            return CLOSED
        return HALF_OPEN if self.oracle.probe is not None or self.run.at >= self.oracle.until else OPEN


@given(STEPS)
def test_any_schedule_ends_as_the_oracle_says(steps: list[Any]) -> None:
    both = Both()
    for name, *arguments in steps:
        getattr(both, name)(*arguments)
        assert both.run.state is both.expected()
    # Whatever has happened, it is never blocked for ever: some call is let in, and successes close it.
    run = both.run
    for _ in range(8):
        for _ in range(2):  # a probe that runs may first count as failed
            run.at += run.seconds
        run.calls(SUCCESS)
    assert run.state is CLOSED
