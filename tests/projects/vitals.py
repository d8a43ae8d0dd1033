"""What a server holds: connections, threads, file descriptors, tasks, and calls that still run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.projects.project import Site

DEADLINE = 15.0
"""Seconds within which everything must be as before: threads kept for reuse may live for some 10 s."""
ROUNDS = 3
_OWN_CONNECTIONS = {"runserver": 1}
"""Of servers: daphne's runserver keeps the connection by which it has looked for migrations; Django's closes it."""
_TICK = 0.1


@dataclass(frozen=True, slots=True)
class Vitals:
    """Counts, of all processes of one server together."""

    connections: int
    """To databases: as PostgreSQL sees them, or open files of SQLite."""
    borrowed: int
    """Out of psycopg's pool."""
    threads: int
    descriptors: int
    tasks: int
    calls: int
    """Of tools, at work."""

    def beyond(self, other: Vitals) -> dict[str, str]:
        """Return which counts are higher than another time, and how much."""
        mine, before = asdict(self), asdict(other)
        return {name: f"{before[name]} -> {mine[name]}" for name in mine if mine[name] > before[name]}


async def measure(site: Site) -> Vitals:
    """Count now."""
    pids = [*site.server.processes()]
    # First, since the request for the other counts has a connection of its own where middleware asks the database.
    connections = sum(_links(pid, site.database) for pid in pids) if site.is_sqlite else site.backends()
    told = await site.get_json("/vitals")
    return Vitals(
        connections=connections,
        borrowed=told["borrowed"],
        threads=sum(_entries(pid, "task") for pid in pids),
        descriptors=sum(_entries(pid, "fd") for pid in pids),
        tasks=told["tasks"],
        calls=told["calls"],
    )


async def until_idle(site: Site) -> Vitals:
    """Wait until no call is at work and no connection in use, up to the deadline; return the counts."""
    deadline = time.monotonic() + DEADLINE
    while True:
        now = await measure(site)
        if is_idle(site, now) or time.monotonic() > deadline:
            return now
        await asyncio.sleep(_TICK)


def is_idle(site: Site, vitals: Vitals) -> bool:
    """Tell whether nothing is at work."""
    own = _OWN_CONNECTIONS.get(site.server.server, 0)
    unused = vitals.borrowed <= own and (vitals.connections <= own or site.keeps_connections)
    return unused and not vitals.calls


async def growth(site: Site, work: Callable[[Site], Awaitable[None]]) -> dict[str, str]:
    """Do some work; return what it leaves behind each time.

    What is in use when nothing is at work is left behind already. Pools of threads may still grow once or twice.
    """
    more: dict[str, str] = {}
    for _ in range(ROUNDS):
        before = await until_idle(site)
        if not is_idle(site, before):
            return {"in use by nobody": str(before)}
        await work(site)
        if not (more := await _left_behind(site, before)):
            break
    return more


async def _left_behind(site: Site, before: Vitals) -> dict[str, str]:
    """Wait until nothing is more than before; return what still is after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while more := (await measure(site)).beyond(before):
        if time.monotonic() > deadline:
            return more
        await asyncio.sleep(_TICK)
    return {}


def _entries(pid: int, kind: str) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/{kind}").iterdir())
    except FileNotFoundError:
        return 0


def _links(pid: int, path: str) -> int:
    """Count the file descriptors that stand for a file."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            count += os.readlink(descriptor) == path
    return count
