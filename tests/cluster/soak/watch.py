"""What is looked at from outside while a soak runs: Redis, and the memory of the nodes."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import redis

from tests.support.cluster.arrangement import Arrangement

_EVERY_SECONDS = 3.0
_CHANGED = "notifications/tools/list_changed"


def resident_kib(pid: int) -> int:
    """Return how much memory a process has in use; one that has just ended has none."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


class Watch:
    """Collects figures until it is cancelled; while Redis is away it has none."""

    def __init__(self, arrangement: Arrangement) -> None:
        self._arrangement = arrangement
        self.announced: set[str] = set()
        """The numbers of all announcements that Redis took: milliseconds and a count."""
        self._looks: Counter[str] = Counter()
        self.resident: dict[str, list[int]] = defaultdict(list)
        """Memory of each process of a node, in KiB, oldest first."""
        self.most_keys = 0

    async def run(self) -> None:
        """Look every few seconds, and at announcements as they come."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            while True:
                await asyncio.to_thread(self.look)
                await asyncio.sleep(_EVERY_SECONDS)

    async def _listen(self) -> None:
        """Note announcements at once: some are heard, and lost when Redis is killed within the same second."""
        last = "$"
        while True:
            try:
                async with self._arrangement.redis.connect_async() as client:
                    while True:
                        found: Any = await client.xread({"mcp:bus": last}, block=1000)
                        for _, entries in found or ():
                            last = entries[-1][0]
                            self.announced |= _changes(entries)
            except (redis.RedisError, OSError):
                await asyncio.sleep(0.01)

    def look(self) -> None:
        """Look once."""
        for node in self._arrangement.nodes:
            if node.alive:
                self.resident[f"{node.name} {node.server} {node.pid}"].append(resident_kib(node.pid))
        try:
            with self._arrangement.redis.connect() as client:
                self.most_keys = max(self.most_keys, client.dbsize())
                found = _changes(client.xrange("mcp:bus"))
                self.announced |= found
                self._looks.update(found)
        except redis.RedisError:
            pass

    def announced_between(self, begin: float, end: float) -> list[float]:
        """Return when there were announcements between two times."""
        return _between(self.announced, begin, end)

    def kept_between(self, begin: float, end: float) -> list[float]:
        """Return when there were announcements between two times that Redis has not lost again."""
        return _between((number for number, looks in self._looks.items() if looks > 1), begin, end)


def _changes(entries: Any) -> set[str]:
    return {number for number, members in entries if members["method"] == _CHANGED}


def _between(numbers: Iterable[str], begin: float, end: float) -> list[float]:
    times = [int(number.partition("-")[0]) / 1000 for number in numbers]
    return sorted(when for when in times if begin <= when < end)


def keys_and_bytes(arrangement: Arrangement) -> tuple[list[str], int]:
    """Return the keys in Redis, and the memory of what it holds."""
    with arrangement.redis.connect() as client:
        memory: Any = client.info("memory")
        keys: Any = client.keys("*")
    return sorted(keys), memory["used_memory"]
