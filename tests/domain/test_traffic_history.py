"""Samples of an hour and a day, and the latest failed calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.histogram import Histogram
from mcp_transport.domain.metrics import ProcessMetrics, aggregate
from mcp_transport.domain.traffic_history import (
    MAX_FAILURES,
    RANGES,
    FailedCall,
    Range,
    Sample,
    Series,
    latest_failures,
)

MINUTE = Range(60.0, 3)


def calls(*seconds: float, errors: int = 0) -> Histogram:
    found = Histogram()
    for number, each in enumerate(seconds):
        found.add(each, failed=number < errors)
    return found


def test_samples_are_complete_and_the_oldest_are_dropped() -> None:
    series = Series(MINUTE)
    series.add(0.0, calls(0.1, errors=1), 2)
    assert series.samples(59.9) == ()
    series.add(30.0, calls(0.1, 0.1), 3)
    [sample] = series.samples(60.0)
    assert (sample.calls, sample.errors, sample.streams) == (3, 1, 3)
    assert 0.09 <= sample.p95 <= 0.13
    series.add(90.0, calls(0.1), 1)
    assert [item.calls for item in series.samples(240.0)] == [1, 0, 0], "three are kept, empty ones too"


def test_a_long_silence_takes_no_long_work() -> None:
    series = Series(MINUTE)
    series.add(0.0, calls(0.1), 1)
    assert [item.calls for item in series.samples(1e12)] == [0, 0, 0]


@given(st.lists(st.tuples(st.floats(0, 500), st.integers(1, 3)), max_size=30))
def test_no_call_is_counted_twice_or_lost(steps: list[tuple[float, int]]) -> None:
    series, at, total = Series(Range(60.0, 10_000)), 0.0, 0
    for wait, count in steps:
        at += wait
        total += count
        series.add(at, calls(*[0.1] * count), 0)
    assert sum(item.calls for item in series.samples(at + 60.0)) == total


@given(
    st.builds(
        Sample,
        st.integers(0, 10**9),
        st.integers(0, 10**9),
        st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000),
        st.integers(0, 10**6),
    )
)
def test_a_sample_is_the_same_after_json(sample: Sample) -> None:
    again = Sample.from_json(json.loads(json.dumps(sample.to_json())))
    assert again == sample or not (sample.calls or sample.streams)


@pytest.mark.parametrize("value", [None, "x", [1], [1, 2, -3, 4], [1, 2, 1e99, 4], [-1, 0, 0, 0], [1.5, 0, 0, 0]])
def test_what_is_no_sample_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Sample.from_json(value)


@pytest.mark.parametrize("value", [None, ["a"], ["a", "b", -1], ["a", "b", "c"], ["a", "b", float("nan")]])
def test_what_is_no_failed_call_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        FailedCall.from_json(value)


def test_failed_calls_are_merged_newest_first() -> None:
    one, two = FailedCall("a", "K", 5.0), FailedCall("a", "K", 3.0)
    other = FailedCall("a", "L", 4.0)
    assert latest_failures([one, other, two]) == (two, other)


def test_samples_of_processes_are_added_up_and_the_highest_p95_is_kept() -> None:
    young = ProcessMetrics(history={"1h": (Sample(60, 6, 0.2, 1),)}, failures=(FailedCall("a", "K", 1.0),))
    old = ProcessMetrics(history={"1h": (Sample(120, 0, 0.1, 2), Sample(180, 0, 0.1, 3))})
    traffic = aggregate([young, old])
    first, last = traffic.history["1h"]
    assert (first.age, first.calls, last.age, last.calls) == (60.0, 2.0, 0.0, 4.0)
    assert (last.errors, last.p95, last.streams) == (0.1, 0.2, 4)
    assert traffic.history["24h"] == ()
    assert [failure.key for failure in traffic.failures] == ["K"]


def test_the_longest_history_is_a_small_part_of_a_heartbeat() -> None:
    history = {name: (Sample(99_999, 9999, 12.3456, 999),) * extent.samples for name, extent in RANGES.items()}
    failures = (FailedCall("tools/call " + "x" * 50, "A" * 26, 3599.0),) * MAX_FAILURES
    text = json.dumps(ProcessMetrics(history=history, failures=failures).to_json(), separators=(",", ":"))
    assert len(text) < 12_000
