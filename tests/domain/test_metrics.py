"""Counting calls, aggregating the counts of processes, rates and percentiles."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from mcp_transport.domain.metrics import (
    INTERVAL_SECONDS,
    MAX_OPERATIONS,
    Counters,
    Histogram,
    Interval,
    Load,
    ProcessMetrics,
    aggregate,
)
from mcp_transport.domain.traffic_history import FailedCall, Sample


def histogram(*seconds: float, errors: int = 0) -> Histogram:
    result = Histogram()
    for number, each in enumerate(seconds):
        result.add(each, failed=number < errors)
    return result


def test_numbers_are_the_same_after_json() -> None:
    numbers = ProcessMetrics(
        intervals=(Interval(histogram(0.001, 0.5), 3), Interval()),
        operations={"ping": histogram(0.001, 0.5, errors=1)},
        versions={"2025-11-25": 2},
        refused={"404": 1},
        opened=4,
        coalesced=5,
        batches={"batches": 2, "calls": 9},
        waits=histogram(0.2),
        load=Load(running=4, waiting=3, threads=2, lost_threads=1),
        history={"1h": (Sample(), Sample(7, 1, 0.25, 2))},
        failures=(FailedCall("tools/call add", "K" * 26, 7.0),),
    )
    assert ProcessMetrics.from_json(json.loads(json.dumps(numbers.to_json()))) == numbers


def test_numbers_of_the_previous_release_have_neither_waits_nor_load() -> None:
    old = ProcessMetrics(
        opened=4, coalesced=2, batches={"calls": 1}, waits=histogram(0.2), load=Load(waiting=3)
    ).to_json()
    del old["waits"], old["load"], old["coalesced"], old["batches"], old["history"], old["failures"]
    assert ProcessMetrics.from_json(old) == ProcessMetrics(opened=4)


def test_numbers_of_the_next_release_may_have_more() -> None:
    new = {**ProcessMetrics().to_json(), "load": [4, 3, 2, 1, 7], "more": 1, "history": {"1w": ["?"]}}
    assert ProcessMetrics.from_json(new).load == Load(running=4, waiting=3, threads=2, lost_threads=1)


def test_processes_are_added_up() -> None:
    one = ProcessMetrics(
        intervals=(Interval(histogram(0.1), 1), Interval(histogram(0.1, 0.1, errors=1), 2)),
        operations={"ping": histogram(0.1), "tools/call add": histogram(0.1, 0.1, errors=1)},
        versions={"2025-11-25": 3},
        refused={"404": 1},
        opened=1,
        waits=histogram(0.2, 0.2),
        load=Load(running=4, waiting=3, threads=2, lost_threads=1),
    )
    two = ProcessMetrics(
        intervals=(Interval(histogram(*[0.2] * 7), 5),),
        operations={"tools/call add": histogram(*[0.2] * 7)},
        versions={"2026-07-28": 7},
        refused={"404": 2, "room": 1},
        opened=2,
        waits=histogram(1.0),
        load=Load(running=1, waiting=1, threads=1),
    )
    traffic = aggregate([one, two])
    assert (traffic.processes, traffic.seconds, traffic.opened) == (2, 2 * INTERVAL_SECONDS, 3)
    assert (traffic.total.calls, traffic.total.errors) == (10, 1)
    assert [(name, each.calls) for name, each in traffic.operations.items()] == [("tools/call add", 9), ("ping", 1)]
    assert (traffic.versions, traffic.refused) == ({"2025-11-25": 3, "2026-07-28": 7}, {"404": 3, "room": 1})
    assert traffic.rate(traffic.total.calls) == 1.0
    assert (traffic.waits.calls, round(traffic.waits.seconds, 6)) == (3, 1.4)
    assert traffic.load == Load(running=5, waiting=4, threads=3, lost_threads=1)
    assert [(point.age, point.calls, point.errors, point.streams) for point in traffic.points] == [
        (INTERVAL_SECONDS, 1 / INTERVAL_SECONDS, 0, 1),
        (0, 9 / INTERVAL_SECONDS, 1 / INTERVAL_SECONDS, 7),
    ]
    assert traffic.points[1].p95 == pytest.approx(0.2, rel=0.21)


def test_nobody_has_counted_anything() -> None:
    traffic = aggregate([])
    assert (traffic.processes, traffic.seconds, traffic.points, traffic.rate(7)) == (0, 0, (), 0.0)
    assert (traffic.waits, traffic.load) == (Histogram(), Load())


def test_a_histogram_counts_the_calls_within_a_duration() -> None:
    result = histogram(*(milliseconds / 1000 for milliseconds in range(1, 1001)))
    for seconds in (0.005, 0.05, 0.1, 0.25, 0.5):
        assert abs(result.count_within(seconds) - 1000 * seconds) <= 100 * seconds + 1, seconds
    assert (result.count_within(10.0), Histogram().count_within(1.0)) == (1000, 0)
    assert histogram(0.0).count_within(0.005) == 1, "a call of no duration counts in each bucket"


def counted(*names: str, limit: float = MAX_OPERATIONS) -> Counters:
    result = Counters(
        versions=Counter(v=len(names)), refused=Counter({"404": 1}), opened=1, coalesced=3, batches=Counter(calls=2)
    )
    for name in names:
        result.histogram(name, limit).add(0.1)
    return result


def test_merging_and_subtracting_restores_counters() -> None:
    counters, more = counted("ping", "ping", "add"), counted("ping", "list")
    counters.merge(more)
    assert {name: each.calls for name, each in counters.operations.items()} == {"ping": 3, "add": 1, "list": 1}
    assert (counters.versions, counters.refused, counters.opened, counters.coalesced) == ({"v": 5}, {"404": 2}, 2, 6)
    assert counters.batches == {"calls": 4}
    counters.subtract(more)
    assert {name: each.calls for name, each in counters.operations.items()} == {"ping": 2, "add": 1}
    assert (counters.versions, counters.refused, counters.opened, counters.coalesced) == ({"v": 3}, {"404": 1}, 1, 3)
    assert counters.batches == {"calls": 2}


def test_further_operations_share_one_histogram() -> None:
    operations = counted("a", "b", "c", "a", limit=2).operations
    assert {name: each.calls for name, each in operations.items()} == {"a": 2, "b": 1, "other": 1}


@pytest.mark.parametrize(
    "changes",
    [{"opened": -1}, {"opened": "x"}, {"operations": {"a": [1, 0, -1.0, []]}}, {"load": [0, -1, 0, 0]}, {"load": []}],
)
def test_numbers_that_nobody_counted_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not a count|not a duration|not enough values"):
        ProcessMetrics.from_json({**ProcessMetrics().to_json(), **changes})
