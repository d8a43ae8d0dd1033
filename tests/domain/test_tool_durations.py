"""Durations by tool and era: labels are names of tools that exist, whatever clients send."""

from __future__ import annotations

import random

import pytest

from mcp_transport.domain.metrics import MAX_OPERATIONS, Histogram
from mcp_transport.domain.tool_durations import OTHER, BoundedNames, ToolDurations, era_of

TOOLS = {"search", "with a space", "é"}


@pytest.fixture
def durations() -> ToolDurations:
    return ToolDurations(TOOLS.__contains__)


def one(*, failed: bool) -> Histogram:
    histogram = Histogram()
    histogram.add(0.1, failed=failed)
    return histogram


def counts(durations: ToolDurations) -> dict[tuple[str, str], tuple[int, int]]:
    return {key: (each.calls, each.errors) for key, each in durations.copy().items()}


@pytest.mark.parametrize(
    ("version", "era"),
    [("2025-03-26", "session"), ("2025-11-25", "session"), ("2026-07-28", "sessionless"), ("a later one", "session")],
)
def test_an_era_is_whether_a_revision_has_sessions(version: str, era: str) -> None:
    assert era_of(version) == era


def test_calls_of_tools_count_by_tool_and_era_and_nothing_else_does(durations: ToolDurations) -> None:
    for name in (*sorted(TOOLS), "search"):
        durations.add(f"tools/call {name}", "2025-11-25", one(failed=False), succeeded=True)
    durations.add("tools/call search", "2026-07-28", one(failed=True), succeeded=False)
    durations.add("tools/call search", "2026-07-28", one(failed=False), succeeded=False)
    for other in ("ping", "tools/list", "tools/call", "prompts/get search"):
        durations.add(other, "2025-11-25", one(failed=False), succeeded=True)
    once = (1, 0)
    assert counts(durations) == {
        ("search", "session"): (2, 0),
        ("search", "sessionless"): (2, 1),
        ("with a space", "session"): once,
        ("é", "session"): once,
    }


def test_a_copy_does_not_change(durations: ToolDurations) -> None:
    durations.add("tools/call search", "2025-11-25", one(failed=False), succeeded=True)
    copied = durations.copy()
    durations.add("tools/call search", "2025-11-25", one(failed=False), succeeded=True)
    assert copied["search", "session"].calls == 1
    assert sum(copied["search", "session"].buckets.values()) == 1


def test_names_that_clients_invent_are_one_label(durations: ToolDurations) -> None:
    chooser = random.Random(1)  # noqa: S311
    for number in range(2000):
        name = "".join(chooser.choices('ab"\\\n{}=\0é', k=20)) + str(number)
        version = chooser.choice(["2025-11-25", "2026-07-28"])
        durations.add(f"tools/call {name}", version, one(failed=chooser.random() < 0.5), succeeded=False)
    assert {name for name, _ in counts(durations)} == {OTHER}


def test_names_that_a_server_cannot_look_up_count_once_a_call_succeeded_and_are_limited() -> None:
    names = BoundedNames(lambda _: False)
    assert names.label("late", succeeded=False) == OTHER
    assert names.label("late", succeeded=True) == "late"
    assert names.label("late", succeeded=False) == "late"
    labels = {names.label(f"tool {number}", succeeded=True) for number in range(10 * MAX_OPERATIONS)}
    assert len(labels) == MAX_OPERATIONS
    assert OTHER in labels
    assert names.label("late", succeeded=True) == "late"
