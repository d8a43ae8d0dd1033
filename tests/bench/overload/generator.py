"""Open loops, which send when the plan says so, and closed ones, whose workers send again at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence

from tests.bench.load import quantile
from tests.bench.overload.callers import Target
from tests.bench.overload.pool import BROKEN, Call, Pool
from tests.bench.wire import now

Arrival = tuple[float, Target]
"""Seconds after the beginning, and what is sent."""

_BURST = 64
_PAUSE_SECONDS = 0.05


class FellBehind(Exception):
    """Raised when requests left later than planned: what was measured is the generator."""


def check_punctual(calls: Sequence[Call], most: float) -> float:
    """Return the seconds that 99 % of the requests left within after they were due.

    Raises:
        FellBehind: they are more than `most`.
    """
    late = quantile([call.started - call.due for call in calls], 0.99)
    if late > most:
        raise FellBehind(f"1 % of {len(calls)} requests left {late * 1000:.0f} ms late or more")
    return late


def poisson(
    rate: float, targets: Sequence[Target], seconds: float, seed: int, first: float = 0.0
) -> Iterator[Arrival]:
    """Plan arrivals that are independent of each other, each of a random target."""
    chance = random.Random(seed)  # noqa: S311
    at = first + chance.expovariate(rate)
    while at < first + seconds:
        yield at, chance.choice(targets)
        at += chance.expovariate(rate)


def regular(rate: float, targets: Sequence[Target], seconds: float) -> Iterator[Arrival]:
    """Plan arrivals at equal distances, the targets in turn."""
    for number in range(int(rate * seconds)):
        yield number / rate, targets[number % len(targets)]


async def offer(pool: Pool, arrivals: Iterable[Arrival], began: float) -> list[Call]:
    """Send each request when it is due, whatever has become of those before."""
    calls: list[Call] = []
    for number, (offset, target) in enumerate(arrivals):
        due = began + offset
        while (ahead := due - now()) > 0:  # noqa: ASYNC110 (it waits for a time)
            await asyncio.sleep(ahead)
        if number % _BURST == 0:
            await asyncio.sleep(0)  # answers are read also while the plan is caught up with
        calls.append(pool.start(target, due))
    return calls


async def repeat(pool: Pool, targets: Sequence[Target], seconds: float) -> list[Call]:
    """Have one worker for each target, which sends again when it has an answer, whatever that is."""
    loop, over = asyncio.get_running_loop(), now() + seconds
    calls: list[Call] = []

    def start(target: Target) -> None:
        if now() < over:
            calls.append(pool.start(target, now(), lambda call: ended(call, target)))

    def ended(call: Call, target: Target) -> None:
        # A worker whose connection broke would otherwise try again without end.
        loop.call_later(_PAUSE_SECONDS if call.status <= BROKEN else 0, start, target)

    for target in targets:
        start(target)
    await asyncio.sleep(over - now())
    return calls
