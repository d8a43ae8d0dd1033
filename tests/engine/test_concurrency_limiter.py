"""Limits on how much runs at a time: what waits, in which order it is admitted, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.concurrency import ConcurrencyLimit, ConcurrencyLimiter
from mcp_transport.exceptions import Overloaded
from tests.support.clock import FakeClock, settle

LIMIT = ConcurrencyLimit(
    name="MAX",
    scope="server",
    running=2,
    running_per_caller=2,
    waiting=4,
    waiting_per_caller=3,
    wait_seconds=10.0,
)


class Callers:
    """Calls that run until the test ends them."""

    def __init__(self, limiter: ConcurrencyLimiter) -> None:
        self._limiter = limiter
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def start(self, *names: str) -> None:
        """Start calls; the first character of a name is the caller."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.ensure_future(self._run(name))
            await settle()

    async def _run(self, name: str) -> None:
        await self._limiter.acquire(name[0])
        self.order.append(name)
        try:
            await self._ends[name].wait()
        finally:
            self._limiter.release(name[0])

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settle()

    async def end_all(self) -> None:
        while running := [name for name, task in self.tasks.items() if not task.done()]:
            await self.end(*running)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_what_has_room_runs_at_once_and_the_rest_in_turn_between_callers(clock: FakeClock) -> None:
    limiter = ConcurrencyLimiter(LIMIT, clock.timeout, clock.now)
    callers = Callers(limiter)
    await callers.start("a1", "a2", "a3", "a4", "b1", "c1")
    assert callers.order == ["a1", "a2"]
    assert (limiter.running, limiter.waiting) == (2, 4)
    await callers.end("a1", "a2", "a3", "b1")
    assert callers.order == ["a1", "a2", "b1", "a3", "c1", "a4"]
    await callers.end_all()
    assert (limiter.running, limiter.waiting, limiter._queues, limiter._running_of) == (0, 0, {}, {})


async def test_a_caller_that_has_used_up_its_share_leaves_room_to_others(clock: FakeClock) -> None:
    callers = Callers(ConcurrencyLimiter(replace(LIMIT, running=3), clock.timeout, clock.now))
    await callers.start("a1", "a2", "a3", "b1", "b2")
    assert callers.order == ["a1", "a2", "b1"]
    await callers.end("a1")
    assert callers.order[3:] == ["a3"]
    await callers.end("b1")
    assert callers.order[4:] == ["b2"]
    await callers.end_all()


@pytest.mark.parametrize(
    ("waiting", "key", "reason"),
    [
        (("a3", "a4", "a5"), "caller", "3 calls of this caller wait already, and 2 of this caller run (MAX)"),
        (("b1", "c1", "d1", "e1"), "server", "4 calls wait already, and 2 run (MAX)"),
    ],
)
async def test_beyond_the_queue_calls_are_refused(
    waiting: tuple[str, ...], key: str, reason: str, clock: FakeClock
) -> None:
    limiter = ConcurrencyLimiter(LIMIT, clock.timeout, clock.now)
    callers = Callers(limiter)
    await callers.start("a1", "a2", *waiting)
    with pytest.raises(Overloaded) as refused:
        await limiter.acquire("a")
    assert (refused.value.key, refused.value.limit, refused.value.retry_after) == (key, "MAX", 5.0)
    assert str(refused.value) == f"{reason}: try again later"
    with pytest.raises(Overloaded):
        limiter.check("a")
    await callers.end_all()
    limiter.check("a")


@pytest.mark.parametrize(("caller", "key"), [("a", "caller"), ("b", "server")])
async def test_a_call_that_waits_too_long_is_refused(caller: str, key: str, clock: FakeClock) -> None:
    limiter = ConcurrencyLimiter(LIMIT, clock.timeout, clock.now)
    callers = Callers(limiter)
    await callers.start("a1", "a2", f"{caller}3")
    await clock.advance(9.9)
    assert not callers.tasks[f"{caller}3"].done()
    await clock.advance(0.2)
    with pytest.raises(Overloaded, match="the call has waited for 10 s") as refused:
        await callers.tasks[f"{caller}3"]
    assert refused.value.key == key
    assert limiter.waiting == 0
    await callers.end_all()


async def test_a_call_that_is_cancelled_leaves_the_queue_or_what_it_was_given(clock: FakeClock) -> None:
    limiter = ConcurrencyLimiter(LIMIT, clock.timeout, clock.now)
    callers = Callers(limiter)
    await callers.start("a1", "a2", "b1", "b2", "c1")
    callers.tasks["b1"].cancel()
    await settle()
    assert limiter.waiting == 2
    # Admitted and cancelled in one tick: the place goes to the next.
    limiter._running_of["a"] += 0
    callers._ends["a1"].set()
    await asyncio.sleep(0)
    callers.tasks["b2"].cancel()
    await settle()
    assert callers.order == ["a1", "a2", "c1"]
    await callers.end_all()
    assert (limiter.running, limiter.waiting) == (0, 0)


async def test_a_queue_that_does_not_empty_is_overload_and_kept_short(clock: FakeClock) -> None:
    """A burst may wait for 10 s; after 5 s with a queue, calls wait for 1 s, or are refused if that is not enough."""
    limiter = ConcurrencyLimiter(replace(LIMIT, waiting=100, waiting_per_caller=100), clock.timeout, clock.now)
    callers = Callers(limiter)
    await callers.start("a1", "a2", *(f"b{number}" for number in range(29)))
    for number in range(26):  # one call is admitted each 0.2 s
        await clock.advance(0.2)
        await callers.end(*callers.order[number : number + 1])
    assert (len(callers.order), limiter.waiting) == (28, 3)
    with pytest.raises(Overloaded, match=r"the call would wait for 0.8 s, and 2 of this caller run") as refused:
        await limiter.acquire("b")
    assert refused.value.key == "caller"
    await callers.start("c1")  # whose turn is sooner
    await clock.advance(1.1)
    with pytest.raises(Overloaded, match="the call has waited for 1 s"):
        await callers.tasks["c1"]
    await callers.end_all()
    assert limiter.waiting == 0
    await callers.start("a8", "a9", "c2")
    await clock.advance(9.0)
    assert not callers.tasks["c2"].done(), "a burst may wait longer again"
    await callers.end_all()


@given(st.data())
def test_the_limits_hold_whatever_happens_in_whatever_order(data: st.DataObject) -> None:
    async def run() -> None:
        clock = FakeClock()
        limiter = ConcurrencyLimiter(LIMIT, clock.timeout, clock.now)
        callers = Callers(limiter)
        for number in range(data.draw(st.integers(1, 30))):
            live = sorted(name for name, task in callers.tasks.items() if not task.done())
            action = data.draw(st.sampled_from(["start", "end", "cancel", "wait"]))
            if action == "start" or not live:
                await callers.start(f"{data.draw(st.sampled_from('abc'))}{number}")
            elif action == "wait":
                await clock.advance(4)
            else:
                name = data.draw(st.sampled_from(live))
                callers.tasks[name].cancel() if action == "cancel" else callers._ends[name].set()
                await settle()
            running = [name[0] for name in callers.order if not callers.tasks[name].done()]
            assert limiter.running == len(running) <= LIMIT.running
            assert all(running.count(caller) <= LIMIT.running_per_caller for caller in running)
            waiting = {caller: len(queue) for caller, queue in limiter._queues.items()}
            assert limiter.waiting == sum(waiting.values()) <= LIMIT.waiting
            assert max(waiting.values(), default=0) <= LIMIT.waiting_per_caller
            assert not waiting or limiter.running == LIMIT.running, "nothing waits while there is room"
        await callers.end_all()
        await asyncio.gather(*callers.tasks.values(), return_exceptions=True)
        assert (limiter.running, limiter.waiting, limiter._queues, limiter._running_of) == (0, 0, {}, {})

    asyncio.run(run())
