"""What a process counts: by intervals, of which the last ones are kept, and since its start."""

from __future__ import annotations

import threading

from mcp_transport.domain.history import Ending
from mcp_transport.domain.metrics import INTERVAL_SECONDS, MAX_INTERVALS, Load
from mcp_transport.domain.traffic_history import MAX_FAILURE_AGE, MAX_FAILURES
from mcp_transport.engine.call_metrics import CallMetrics
from tests.support.clock import FakeClock


class Counter(CallMetrics):
    """A meter on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        super().__init__(self.clock)

    def ping(self, name: str = "ping", version: str = "v", ending: Ending = Ending.OK, seconds: float = 0.01) -> None:
        self.record_call(name, version, self.clock.now(), seconds, ending)


async def test_longer_ranges_are_sampled_and_failed_calls_are_kept_once_for_a_session() -> None:
    counter = Counter()
    for number in range(MAX_FAILURES + 5):
        counter.record_call("tools/call buy", "v", counter.clock.now(), 0.1, Ending.ERROR, f"S{number}")
    for ending in (Ending.OK, Ending.CANCELLED):
        counter.record_call("tools/call buy", "v", counter.clock.now(), 0.1, ending, "quiet")
    counter.record_call("tools/call buy", "v", counter.clock.now(), 0.1, Ending.LOST, "")
    assert counter.process_metrics(2).history == {"1h": (), "24h": ()}
    await counter.clock.advance(60.0)
    counter.record_call("tools/call buy", "v", counter.clock.now(), 0.1, Ending.ERROR, "S7")
    numbers = counter.process_metrics(2)
    [sample] = numbers.history["1h"]
    assert (sample.calls, sample.errors) == (MAX_FAILURES + 8, MAX_FAILURES + 6)
    assert len(numbers.failures) == MAX_FAILURES
    latest = numbers.failures[-1]
    assert (latest.operation, latest.key, latest.age) == ("tools/call buy", "S7", 0.0)
    assert [failure.key for failure in numbers.failures].count("S7") == 1
    await counter.clock.advance(MAX_FAILURE_AGE - 30.0)
    numbers = counter.process_metrics(2)
    assert ([failure.key for failure in numbers.failures], len(numbers.history["1h"])) == (["S7"], 60)
    assert sum(item.calls for item in numbers.history["24h"]) == MAX_FAILURES + 9


async def test_what_goes_on_counts_since_the_start_at_once_and_when_its_interval_is_over() -> None:
    counter = Counter()
    counter.ping(version="2025-11-25", seconds=0.03)
    for ending in (Ending.ERROR, Ending.LOST, Ending.CANCELLED):
        counter.ping(version="2026-07-28", ending=ending)
    counter.record_refusal("404")
    counter.record_session()
    counter.record_wait(0.5)
    versions = {"2025-11-25": 1, "2026-07-28": 3}
    counted = counter.since_start()
    [(name, tally)] = counted.operations.items()
    assert (name, tally.calls, tally.errors, round(tally.seconds, 6)) == ("ping", 4, 2, 0.06)
    assert (counted.refused, counted.opened, counted.versions) == ({"404": 1}, 1, versions)
    assert counter.process_metrics(3).intervals == ()
    await counter.clock.advance(INTERVAL_SECONDS)
    numbers = counter.process_metrics(4)
    assert [(item.histogram.calls, item.histogram.errors, item.streams) for item in numbers.intervals] == [(4, 2, 4)]
    assert {name: each.calls for name, each in numbers.operations.items()} == {"ping": 4}
    assert (numbers.versions, numbers.refused, numbers.opened) == (versions, {"404": 1}, 1)
    assert (numbers.waits.calls, numbers.waits.seconds, numbers.load) == (1, 0.5, Load())
    assert counter.process_metrics(0, Load(waiting=2)).load == Load(waiting=2)


async def test_a_pause_has_intervals_too() -> None:
    counter = Counter()
    counter.ping()
    await counter.clock.advance(3 * INTERVAL_SECONDS)
    counter.ping()
    await counter.clock.advance(INTERVAL_SECONDS)
    assert [item.histogram.calls for item in counter.process_metrics(0).intervals] == [1, 0, 0, 1]


async def test_what_is_too_old_counts_since_the_start_alone() -> None:
    counter = Counter()
    counter.ping("old", "v1", Ending.ERROR)
    counter.record_refusal("401")
    counter.record_session()
    await counter.clock.advance(INTERVAL_SECONDS)
    for _ in range(MAX_INTERVALS):
        counter.ping("new", "v2")
        await counter.clock.advance(INTERVAL_SECONDS)
    numbers = counter.process_metrics(0)
    assert len(numbers.intervals) == MAX_INTERVALS
    assert {name: each.calls for name, each in numbers.operations.items()} == {"new": MAX_INTERVALS}
    assert (numbers.versions, numbers.refused, numbers.opened) == ({"v2": MAX_INTERVALS}, {}, 0)
    await counter.clock.advance(10 * MAX_INTERVALS * INTERVAL_SECONDS)
    numbers = counter.process_metrics(0)
    assert (len(numbers.intervals), numbers.operations, numbers.versions) == (MAX_INTERVALS, {}, {})
    counted = counter.since_start()
    assert {name: (each.calls, each.buckets.total()) for name, each in counted.operations.items()} == {
        "old": (1, 1),
        "new": (MAX_INTERVALS, MAX_INTERVALS),
    }
    assert (counted.refused, counted.opened) == ({"401": 1}, 1)


async def test_no_client_makes_what_counts_since_the_start_grow_and_it_never_falls() -> None:
    counter, before = Counter(), dict[str, int]()
    for number in range(1000):
        counter.ping(f"tools/call {number}")
        if number % 30 == 0:
            await counter.clock.advance(INTERVAL_SECONDS)
        if number % 10 == 0:
            now = {name: tally.calls for name, tally in counter.since_start().operations.items()}
            assert all(now[name] >= calls for name, calls in before.items())
            assert sum(now.values()) == number + 1
            before = now
    assert (len(before), before["other"]) == (101, 891)


async def test_no_client_makes_an_interval_grow() -> None:
    counter = Counter()
    for number in range(1000):
        counter.ping(f"tools/call {number}")
    await counter.clock.advance(INTERVAL_SECONDS)
    numbers = counter.process_metrics(0)
    assert len(numbers.operations) == 100
    assert sum(each.calls for each in numbers.operations.values()) >= 900


async def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    counter = Counter()
    for seconds in (100 * INTERVAL_SECONDS, -50 * INTERVAL_SECONDS):
        await counter.clock.advance(seconds)
        counter.ping()
    await counter.clock.advance(INTERVAL_SECONDS)
    assert sum(item.histogram.calls for item in counter.process_metrics(0).intervals) == 2


async def test_several_threads_count_each_call() -> None:
    counter = Counter()

    def work() -> None:
        for number in range(2000):
            counter.ping(f"{number % 7}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await counter.clock.advance(INTERVAL_SECONDS)
    assert sum(each.calls for each in counter.process_metrics(0).operations.values()) == 8000


async def test_what_is_read_is_a_copy() -> None:
    counter = Counter()
    counter.ping()
    for _ in range(2):
        counter.since_start().operations["ping"].add(1.0)
        assert counter.since_start().operations["ping"].calls == 1
        await counter.clock.advance(INTERVAL_SECONDS)
        counter.process_metrics(0)
