"""Histograms of durations: percentiles, and sums and differences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.histogram import Histogram, parse_count


def histogram(*seconds: float, errors: int = 0) -> Histogram:
    result = Histogram()
    for number, each in enumerate(seconds):
        result.add(each, failed=number < errors)
    return result


durations = st.lists(st.floats(min_value=0.0001, max_value=3600), min_size=1, max_size=200)


@given(durations, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_right_to_a_fifth(seconds: list[float], share: float) -> None:
    ordered = sorted(seconds)
    exact = next(each for number, each in enumerate(ordered, 1) if number >= share * len(ordered))
    assert exact * 0.999 <= histogram(*seconds).percentile(share) <= exact * 1.201


@given(durations, durations)
def test_merging_and_subtracting_restores_a_histogram(one: list[float], two: list[float]) -> None:
    both, first, second = histogram(*one), histogram(*one), histogram(*two)
    both.merge(second)
    assert both.buckets == histogram(*one, *two).buckets
    both.subtract(second)
    assert (both.calls, both.errors, both.buckets) == (first.calls, first.errors, first.buckets)
    assert both.seconds == pytest.approx(first.seconds, abs=1e-6)


def test_without_calls_there_is_no_percentile() -> None:
    assert Histogram().percentile(0.95) == 0.0


@pytest.mark.parametrize("value", [-1, 1.5, "1", None])
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a count"):
        parse_count(value)
