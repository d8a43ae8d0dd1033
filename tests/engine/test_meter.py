"""What a process counts: by intervals, of which the last ones are kept."""

from __future__ import annotations

import threading

from mcp_transport.engine.meter import Meter
from mcp_transport.protocol.history import Ending
from mcp_transport.protocol.measures import INTERVAL, KEPT, Tally
from tests.support.clock import FakeClock


def meter() -> tuple[Meter, FakeClock]:
    clock = FakeClock()
    return Meter(clock), clock


async def test_what_goes_on_counts_when_its_interval_is_over() -> None:
    counter, clock = meter()
    counter.count("ping", "2025-11-25", clock.now(), 0.01, Ending.OK)
    counter.count("ping", "2026-07-28", clock.now(), 0.01, Ending.ERROR)
    counter.count("ping", "2026-07-28", clock.now(), 0.01, Ending.LOST)
    counter.count("ping", "2026-07-28", clock.now(), 0.01, Ending.CANCELLED)
    counter.refuse("404")
    counter.open()
    assert counter.numbers(3).intervals == ()
    await clock.advance(INTERVAL)
    numbers = counter.numbers(4)
    assert [(item.tally.calls, item.tally.errors, item.streams) for item in numbers.intervals] == [(4, 2, 4)]
    assert {name: each.calls for name, each in numbers.operations.items()} == {"ping": 4}
    assert numbers.versions == {"2025-11-25": 1, "2026-07-28": 3}
    assert (numbers.refused, numbers.opened) == ({"404": 1}, 1)


async def test_a_pause_has_intervals_too() -> None:
    counter, clock = meter()
    counter.count("ping", "v", clock.now(), 0.01, Ending.OK)
    await clock.advance(3 * INTERVAL)
    counter.count("ping", "v", clock.now(), 0.01, Ending.OK)
    await clock.advance(INTERVAL)
    assert [item.tally.calls for item in counter.numbers(0).intervals] == [1, 0, 0, 1]


async def test_what_is_too_old_no_longer_counts() -> None:
    counter, clock = meter()
    counter.count("old", "v1", clock.now(), 0.01, Ending.ERROR)
    counter.refuse("401")
    counter.open()
    await clock.advance(INTERVAL)
    for _ in range(KEPT):
        counter.count("new", "v2", clock.now(), 0.01, Ending.OK)
        await clock.advance(INTERVAL)
    numbers = counter.numbers(0)
    assert len(numbers.intervals) == KEPT
    assert {name: each.calls for name, each in numbers.operations.items()} == {"new": KEPT}
    assert (numbers.versions, numbers.refused, numbers.opened) == ({"v2": KEPT}, {}, 0)
    await clock.advance(10 * KEPT * INTERVAL)
    numbers = counter.numbers(0)
    assert len(numbers.intervals) == KEPT
    assert (numbers.operations, numbers.versions) == ({}, {})


async def test_no_client_makes_it_grow() -> None:
    counter, clock = meter()
    for number in range(1000):
        counter.count(f"tools/call {number}", "v", clock.now(), 0.01, Ending.OK)
    await clock.advance(INTERVAL)
    numbers = counter.numbers(0)
    assert len(numbers.operations) == 100
    assert sum(each.calls for each in numbers.operations.values()) >= 900


async def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    counter, clock = meter()
    await clock.advance(100 * INTERVAL)
    counter.count("ping", "v", clock.now(), 0.01, Ending.OK)
    await clock.advance(-50 * INTERVAL)
    counter.count("ping", "v", clock.now(), 0.01, Ending.OK)
    await clock.advance(INTERVAL)
    assert sum(item.tally.calls for item in counter.numbers(0).intervals) == 2


async def test_several_threads_count_each_call() -> None:
    counter, clock = meter()

    def work() -> None:
        for number in range(2000):
            counter.count(f"{number % 7}", "v", clock.now(), 0.01, Ending.OK)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await clock.advance(INTERVAL)
    assert sum(each.calls for each in counter.numbers(0).operations.values()) == 8000


# -- since the start -------------------------------------------------------------------------------------


async def test_what_goes_on_counts_since_the_start_at_once() -> None:
    counter, clock = meter()
    counter.count("ping", "v", clock.now(), 0.01, Ending.OK)
    counter.count("ping", "v", clock.now(), 0.03, Ending.ERROR)
    counter.refuse("404")
    counter.open()
    counted = counter.since_start()
    [(name, tally)] = counted.operations.items()
    assert (name, tally.calls, tally.errors, round(tally.seconds, 6)) == ("ping", 2, 1, 0.04)
    assert (counted.refused, counted.opened, counted.versions) == ({"404": 1}, 1, {"v": 2})


async def test_what_is_too_old_counts_since_the_start() -> None:
    counter, clock = meter()
    for _ in range(3 * KEPT):
        counter.count("ping", "v", clock.now(), 0.01, Ending.OK)
        counter.refuse("401")
        counter.open()
        await clock.advance(INTERVAL)
    assert counter.numbers(0).operations["ping"].calls == KEPT
    counted = counter.since_start()
    assert counted.operations["ping"].calls == sum(counted.operations["ping"].steps.values()) == 3 * KEPT
    assert (counted.refused, counted.opened) == ({"401": 3 * KEPT}, 3 * KEPT)


async def test_what_is_read_is_a_copy() -> None:
    counter, clock = meter()
    counter.count("ping", "v", clock.now(), 0.01, Ending.OK)
    for _ in range(2):
        counter.since_start().operations["ping"].add(1.0)
        assert counter.since_start().operations["ping"].calls == 1
        await clock.advance(INTERVAL)
        counter.numbers(0)


async def test_no_client_makes_what_is_counted_since_the_start_grow_and_nothing_ever_falls() -> None:
    counter, clock = meter()
    before: dict[str, int] = {}
    for number in range(1000):
        counter.count(f"tools/call {number}", "v", clock.now(), 0.01, Ending.OK)
        if number % 30 == 0:
            await clock.advance(INTERVAL)
        now = {name: tally.calls for name, tally in counter.since_start().operations.items()}
        assert all(now[name] >= calls for name, calls in before.items())
        assert sum(now.values()) == number + 1
        before = now
    assert len(before) == 101
    assert before["other"] == 900


def test_tally_tells_how_many_calls_took_at_most_so_long() -> None:
    tally = Tally()
    for milliseconds in range(1, 1001):
        tally.add(milliseconds / 1000)
    for seconds in (0.005, 0.05, 0.1, 0.25, 0.5):
        assert abs(tally.within(seconds) - 1000 * seconds) <= 100 * seconds + 1, seconds
    assert (tally.within(10.0), Tally().within(1.0)) == (1000, 0)


def test_tally_counts_what_took_no_time_in_each_bucket() -> None:
    tally = Tally()
    tally.add(0.0)
    assert tally.within(0.005) == 1
