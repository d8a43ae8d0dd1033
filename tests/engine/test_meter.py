"""What a process counts: by intervals, of which the last ones are kept."""

from __future__ import annotations

import threading

from mcp_transport.engine.meter import Meter
from mcp_transport.protocol.history import Ending
from mcp_transport.protocol.measures import INTERVAL, KEPT
from tests.clock import FakeClock


def meter() -> tuple[Meter, FakeClock]:
    clock = FakeClock()
    return Meter(clock), clock


async def test_what_goes_on_counts_when_its_interval_is_over() -> None:
    counter, clock = meter()
    counter.count("ping", "2025-11-25", 0.01, Ending.OK)
    counter.count("ping", "2026-07-28", 0.01, Ending.ERROR)
    counter.count("ping", "2026-07-28", 0.01, Ending.LOST)
    counter.count("ping", "2026-07-28", 0.01, Ending.CANCELLED)
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
    counter.count("ping", "v", 0.01, Ending.OK)
    await clock.advance(3 * INTERVAL)
    counter.count("ping", "v", 0.01, Ending.OK)
    await clock.advance(INTERVAL)
    assert [item.tally.calls for item in counter.numbers(0).intervals] == [1, 0, 0, 1]


async def test_what_is_too_old_no_longer_counts() -> None:
    counter, clock = meter()
    counter.count("old", "v1", 0.01, Ending.ERROR)
    counter.refuse("401")
    counter.open()
    await clock.advance(INTERVAL)
    for _ in range(KEPT):
        counter.count("new", "v2", 0.01, Ending.OK)
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
        counter.count(f"tools/call {number}", "v", 0.01, Ending.OK)
    await clock.advance(INTERVAL)
    numbers = counter.numbers(0)
    assert len(numbers.operations) == 100
    assert sum(each.calls for each in numbers.operations.values()) >= 900


async def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    counter, clock = meter()
    await clock.advance(100 * INTERVAL)
    counter.count("ping", "v", 0.01, Ending.OK)
    await clock.advance(-50 * INTERVAL)
    counter.count("ping", "v", 0.01, Ending.OK)
    await clock.advance(INTERVAL)
    assert sum(item.tally.calls for item in counter.numbers(0).intervals) == 2


async def test_several_threads_count_each_call() -> None:
    counter, clock = meter()

    def work() -> None:
        for number in range(2000):
            counter.count(f"{number % 7}", "v", 0.01, Ending.OK)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await clock.advance(INTERVAL)
    assert sum(each.calls for each in counter.numbers(0).operations.values()) == 8000
