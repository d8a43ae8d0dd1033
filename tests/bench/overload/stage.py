"""What a scenario works with: the server, the connections, the clock, and how much of everything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

from tests.bench.load import no_collections
from tests.bench.overload.callers import Caller, opened
from tests.bench.overload.pool import Call, Pool
from tests.bench.overload.server import seconds_without_core, watch_memory
from tests.bench.process import ServerProcess
from tests.bench.wire import now


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    seconds: float = 30.0
    """How long the overload lasts."""
    before: float = 5.0
    after: float = 10.0
    factor: float = 20.0
    """How many times the capacity is offered."""
    callers: int = 100
    workers: int = 400
    patience: float = 15.0
    """Seconds after which a client gives up."""
    most_late: float = 0.25
    """Seconds that 99 % of the requests must leave within after they were due, else nothing is reported."""

    @classmethod
    def lasting(cls, seconds: float) -> Scale:
        """Return a scale whose other parts fit an overload of some seconds."""
        return cls(seconds=seconds, before=max(seconds / 6, 2.0), after=max(seconds / 3, 3.0))


SHORTEST = Scale(seconds=0.5, before=0.4, after=0.4, factor=2.0, callers=10, workers=40, patience=2.0, most_late=inf)
"""For tests of the bench itself: too short to say anything, and on time or not."""


@dataclass
class Stage:
    """A running server, and what was seen of it."""

    process: ServerProcess
    scale: Scale
    dialect: str
    memory: list[tuple[float, float]] = field(default_factory=list)
    began: float = 0.0

    def __post_init__(self) -> None:
        self.pool = Pool(self.process.port, self.scale.patience)

    async def callers(self, name: str, count: int) -> list[Caller]:
        """Open callers of their own names."""
        return await opened([f"{name}-{number}" for number in range(count)], self.process.port, self.dialect)

    async def begin(self) -> None:
        """Open the session of the probes, which a ping needs whatever the others do, and start the clock."""
        self.prober = (await opened(["probe"], self.process.port, "session"))[0]
        self._waited, self.began = self._seconds_without_core(), now()

    def without_core(self) -> dict[str, float]:
        """Return which share of the time since `begin` server and load waited for a core: other processes had it."""
        lasted, waited = now() - self.began, self._seconds_without_core()
        return {name: round((waited[name] - before) / lasted, 3) for name, before in self._waited.items()}

    def _seconds_without_core(self) -> dict[str, float]:
        pids = {"server": self.process.pid, "load": os.getpid()}
        return {name: seconds_without_core(pid) for name, pid in pids.items()}

    async def reach(self, seconds: float) -> None:
        """Wait until so many seconds are over."""
        await asyncio.sleep(max(self.began + seconds - now(), 0.0))

    async def settle(self, calls: Sequence[Call]) -> None:
        """Wait until calls have ended, by an answer or by the client's patience."""
        for call in calls:
            while not call.ended:  # noqa: ASYNC110 (no events for thousands of calls)
                await asyncio.sleep(0.05)


@asynccontextmanager
async def staged(stage: Stage) -> AsyncIterator[None]:
    """Watch the server's memory and the clients' patience, and close all connections in the end."""
    watchers = [
        asyncio.ensure_future(watch) for watch in (stage.pool.watch(), watch_memory(stage.process, stage.memory))
    ]
    try:
        with no_collections():
            yield
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await stage.pool.close()
