from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.backends.results import Event, Holder
from mcp_transport.backends.streams import EventLog, LocalSession
from tests.support.backends import events, in_flight

SIZES = st.lists(st.integers(0, 60), max_size=30)
# How far each write of the pipeline reaches back: what is written again is a repeat.
REPEATS = st.lists(st.integers(0, 3), min_size=1, max_size=5)


@given(SIZES, REPEATS, st.integers(1, 8), st.integers(1, 150), st.integers(0, 35))
def test_a_log_is_the_tail_of_what_was_written_and_counts_the_rest(
    sizes: list[int], repeats: list[int], max_events: int, max_bytes: int, cursor: int
) -> None:
    log = EventLog(max_events, max_bytes)
    written = [Event(number, b"x" * size) for number, size in enumerate(sizes, start=1)]
    for position in range(len(written)):
        back = repeats[position % len(repeats)]
        log.append(written[max(0, position - back) : position + 1], now=0.0)

    held, lost = log.after(0)
    assert log.last == len(written)
    assert list(held) == written[lost:]
    assert len(held) <= max_events
    assert len(held) <= 1 or sum(len(event.payload) for event in held) <= max_bytes
    assert bool(held) == bool(written)
    # No event was dropped that there was room for.
    if lost:
        larger = written[lost - 1 :]
        assert len(larger) > max_events or sum(len(event.payload) for event in larger) > max_bytes

    after, missed = log.after(cursor)
    assert [event.seq for event in after] == [event.seq for event in held if event.seq > cursor]
    assert missed == max(0, lost - cursor)


def test_a_log_remembers_when_it_ended() -> None:
    log = EventLog(5, 100)
    log.append(events(1), now=3.0)
    assert log.ended_at is None
    log.append(events(2, end=True), now=4.0)
    log.append(events(2, end=True), now=9.0)  # a repeat
    assert log.ended_at == 4.0


def test_an_empty_log_has_nothing_and_lost_nothing() -> None:
    assert EventLog(5, 100).after(0) == ((), 0)


def test_taking_a_stream_raises_its_epoch() -> None:
    log = EventLog(5, 100)
    assert log.hand_to("n1") == (Holder("n1", 1), None)
    assert log.hand_to("n2") == (Holder("n2", 2), Holder("n1", 1))
    assert log.holder == Holder("n2", 2)


def test_a_session_is_told_on_every_node_that_runs_or_holds_something_of_it() -> None:
    local = LocalSession()
    assert local.nodes() == frozenset()
    local.in_flight[1] = in_flight(1, node="n1")
    local.logs["aa"], local.logs["bb"] = EventLog(5, 100), EventLog(5, 100)
    local.logs["aa"].hand_to("n2")
    assert local.nodes() == {"n1", "n2"}


def test_only_what_is_over_for_long_enough_is_dropped() -> None:
    local = LocalSession()
    for name, ended in (("old", 10.0), ("new", 15.0), ("open", None)):
        local.logs[name] = EventLog(5, 100)
        local.append(name, events(1, end=ended is not None), now=ended or 0.0)
    local.cancels = {1: 10.0, 2: 15.0}
    local.drop_expired(now=18.0, keep=5.0, cancel_keep=7.0)
    assert set(local.logs) == {"new", "open"}
    assert set(local.cancels) == {2}
