"""Where a workload finds the server, and how much it is to ask of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.clients import Client
from tests.bench.load import Start, Timings, drive
from tests.bench.process import ServerProcess, cpu_seconds
from tests.bench.servers import Server
from tests.bench.wire import PATIENCE, WrongAnswer

Facts = dict[str, float]

# Opened one after the other, hundreds of connections take too long; all at once, they overrun a listener's backlog.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    seconds: float = 3.0
    warm_up: float = 2.0
    """Seconds that are not counted: Node's compiler needs two."""
    connections: int = 16
    idle_streams: int = 2000
    client_counts: tuple[int, ...] = (1, 4, 16, 64, 256)
    stored_sessions: tuple[int, ...] = (100, 1_000, 10_000, 100_000)


FULL = Scale()
QUICK = Scale(seconds=1.0, warm_up=1.0, idle_streams=200, client_counts=(1, 16, 64), stored_sessions=(100, 1_000))


@dataclass(frozen=True, slots=True)
class Stage:
    """A running server, and how much it is to be asked."""

    process: ServerProcess
    scale: Scale

    @property
    def server(self) -> Server:
        return self.process.server

    async def clients(self, kind: type[Client] | None, count: int = 0) -> list[Client]:
        """Open clients."""
        assert kind is not None
        clients = [kind(self.process.port, self.server.path) for _ in range(count or self.scale.connections)]
        for first in range(0, len(clients), _AT_ONCE):
            await asyncio.gather(*(client.open() for client in clients[first : first + _AT_ONCE]))
        return clients

    async def session_ids(self, count: int) -> list[str]:
        """Open so many sessions, and leave them."""
        clients = await self.clients(Client)
        ids = [client.session_id for client in clients]
        try:
            while len(ids) < count:
                await asyncio.gather(*(client.handshake() for client in clients))
                ids += [client.session_id for client in clients]
        finally:
            close_all(clients)
        return ids[:count]

    async def drive(self, starts: Sequence[Start]) -> Facts:
        """Repeat work; return rate, latencies, and how busy the cores were."""
        timings, busy = await self.timed(starts)
        return {**timings.facts(), **busy}

    async def timed(self, starts: Sequence[Start]) -> tuple[Timings, Facts]:
        """Repeat work, and watch the processors meanwhile."""
        used, began = self._cpu_seconds(), time.perf_counter()
        timings = await drive(starts, self.scale.seconds, self.scale.warm_up)
        lasted = time.perf_counter() - began
        busy = {name: (after - used[name]) / lasted for name, after in self._cpu_seconds().items()}
        return timings, busy

    def _cpu_seconds(self) -> Facts:
        redis = self.process.redis
        own = {"server_busy": self.process.cpu_seconds(), "load_busy": time.process_time()}
        return {**own, "redis_busy": cpu_seconds(redis.pid)} if redis is not None else own


def close_all(clients: Sequence[Client]) -> None:
    """Close all clients."""
    for client in clients:
        client.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 2 * PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise WrongAnswer(f"after {2 * PATIENCE:g} s: not {what}")
        await asyncio.sleep(0.02)
