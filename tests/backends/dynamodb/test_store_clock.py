"""The store's time, as the dates of its responses bound it: within the error that the documentation states."""

from __future__ import annotations

import random
from email.utils import formatdate

import pytest

from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.store_clock import MAX_CLOCK_ERROR, StoreClock
from tests.support.dynamodb.backend import build_client


class World:
    """A true time, a process with a clock that is wrong, and a store that tells whole seconds."""

    def __init__(self, offset: float, rate: float = 1.0) -> None:
        self.true, self._offset, self._rate = 1_800_000_000.25, offset, rate
        self.clock = StoreClock(self.monotonic, lambda: self.true + self._offset)

    def monotonic(self) -> float:
        return (self.true - 1_799_999_000) * self._rate

    def request(self, there: float, back: float) -> None:
        """Send a request that is answered after `there` seconds, and whose answer takes `back` seconds."""
        sent = self.monotonic()
        self.true += there
        date = formatdate(int(self.true), usegmt=True)
        self.true += back
        self.clock.observe(date, sent, self.monotonic())

    @property
    def error(self) -> float:
        return abs(self.clock() - self.true)


@pytest.mark.parametrize("offset", [0.0, 10.0, -86400.0])
def test_before_the_first_response_it_is_the_machines_time(offset: float) -> None:
    assert World(offset).error == pytest.approx(abs(offset))


@pytest.mark.parametrize("seed", range(20))
def test_after_one_response_the_error_is_bounded_whatever_the_machines_clock(seed: int) -> None:
    random_ = random.Random(seed)  # noqa: S311 - a reproducible schedule
    world = World(random_.uniform(-1e6, 1e6))
    for _ in range(50):
        world.true += random_.uniform(0, 3)
        there, back = random_.uniform(0, 0.2), random_.uniform(0, 0.2)
        world.request(there, back)
        assert world.error <= MAX_CLOCK_ERROR + there + back
    assert world.error <= 0.3, "many responses bound it better than one"


def test_a_slow_request_makes_it_no_worse() -> None:
    world = World(0)
    for _ in range(30):
        world.true += 0.37
        world.request(0.001, 0.001)
    before = world.error
    world.request(5.0, 0.0)
    assert world.error == pytest.approx(before, abs=0.01)


@pytest.mark.parametrize("rate", [1 - 1e-4, 1 + 1e-4])
def test_it_follows_a_clock_that_runs_wrong(rate: float) -> None:
    world = World(0, rate)
    for _ in range(1000):
        world.true += 60
        world.request(0.005, 0.005)
        assert world.error <= MAX_CLOCK_ERROR


def test_it_follows_a_store_whose_time_is_set() -> None:
    world = World(0)
    world.request(0.001, 0.001)
    sent = world.monotonic()
    world.clock.observe(formatdate(int(world.true) + 3600, usegmt=True), sent, sent)
    assert world.clock() == pytest.approx(world.true + 3600, abs=1.1)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "9" * 400])
def test_a_date_that_is_none_is_ignored(date: str) -> None:
    world = World(0)
    world.request(0.001, 0.001)
    before = world.clock()
    world.clock.observe(date, world.monotonic(), world.monotonic())
    assert world.clock() == before


async def test_a_client_reads_it_from_real_responses(table: TableSettings) -> None:
    """The server of the tests has the same machine's clock."""
    import time

    client = build_client(table)
    await client.query("nothing")
    assert abs(client.now() - time.time()) <= MAX_CLOCK_ERROR + 1  # plus the duration of the request
