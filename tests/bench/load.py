"""Load: clients that call without pause, and what is learnt from them."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.bench import messages
from tests.bench.wire import WrongAnswer, now

T = TypeVar("T")

numbers = itertools.count(messages.FIRST_NUMBER)


@dataclass
class Timings:
    """When calls ended, and how long each took."""

    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, share: float) -> float:
        """Return the latency that this share of the calls stays below."""
        return quantile(self.latencies, share) * 1000

    def facts(self) -> dict[str, float]:
        """Return what is written down."""
        return {"rate": self.rate, "p50": self.milliseconds(0.5), "p99": self.milliseconds(0.99)}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the others stays below."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


Start = Callable[[int, Callable[[], None]], None]
"""Begins one piece of work, with a number of its own, and calls back when it is done and was right."""


class _Worker:
    """Does one piece of work after the other until time is up."""

    def __init__(self, start: Start, over: asyncio.Future[None]) -> None:
        self._start, self._over = start, over
        self._began = 0.0
        self.latencies: list[float] = []

    def next(self) -> None:
        self._began = now()
        self._start(next(numbers), self._done)

    def _done(self) -> None:
        if not self._over.done():
            self.latencies.append(now() - self._began)
            self.next()


async def drive(starts: Sequence[Start], seconds: float, warm_up: float) -> Timings:
    """Repeat work for some seconds; what is not done then is not counted, nor is the beginning.

    Work that is under way when time is up ends unseen: its connections must be closed.
    """
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    workers = [_Worker(start, over) for start in starts]
    for worker in workers:
        worker.next()
    await asyncio.sleep(warm_up)
    counted = [len(worker.latencies) for worker in workers]
    with no_collections():
        began = now()
        await asyncio.sleep(seconds)
        lasted = now() - began
    over.set_result(None)
    latencies = [worker.latencies[skipped:] for worker, skipped in zip(workers, counted, strict=True)]
    if not all(latencies):
        raise WrongAnswer(f"{latencies.count([])} of {len(workers)} clients got no answer in {seconds:g} s")
    return Timings(lasted, list(itertools.chain(*latencies)))


@contextmanager
def no_collections() -> Iterator[None]:
    """Keep this process' garbage collector out of the timings."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def guarded(work: Coroutine[Any, Any, T]) -> T:
    """Run work; a fault in a callback, such as a wrong answer, ends it."""
    task, faults = asyncio.ensure_future(work), list[BaseException]()

    def fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        faults.append(context.get("exception") or WrongAnswer(context["message"]))
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(fault)
    try:
        return await task
    except asyncio.CancelledError:
        if faults:
            raise faults[0] from None
        raise
    finally:
        loop.set_exception_handler(None)
