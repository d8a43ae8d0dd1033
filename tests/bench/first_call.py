"""What the first call of a process costs, cold and warm: `python -m tests.bench.first_call [starts]`.

Cold: the server has no lifespan, nobody asks for `/readyz`, and the call is the first request after `/healthz`, which
builds nothing. Warm: the call comes after `/readyz` has answered 200. Both are run in turn, with one Redis.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support.cluster.warming_node import MOUNTED, OK, VIEW, Warming
from tests.support.redis.server import RedisServer

SERVERS = (("uvicorn", MOUNTED), ("uvicorn", VIEW), ("daphne", MOUNTED), ("daphne", VIEW), ("gunicorn", MOUNTED))
CALLS = 6


def measure(server: str, application: str, redis: RedisServer, *, warm: bool) -> tuple[float, float, float]:
    """Return milliseconds: until ready, of the first call, and the median of the following ones."""
    with tempfile.TemporaryDirectory() as folder:
        node = Warming(server, application, redis, Path(folder), functions=(), lifespan=warm)
        try:
            node.start()
            began = time.perf_counter()
            if warm:
                node.until(lambda: node.get("/readyz") == OK)
            until_ready = time.perf_counter() - began
            calls = []
            for _ in range(CALLS):
                began = time.perf_counter()
                node.call("where")
                calls.append(time.perf_counter() - began)
        finally:
            node.stop()
    return until_ready * 1000, calls[0] * 1000, statistics.median(calls[1:]) * 1000


def main(starts: int) -> None:
    """Print a table of medians, and of the slowest first calls."""
    print("| Server | First call, cold | First call, warm | Later calls | `/readyz` after |\n|---|---|---|---|---|")
    with RedisServer() as redis:
        for server, application in SERVERS:
            cold, warm = [], []
            for _ in range(starts):
                cold.append(measure(server, application, redis, warm=False))
                warm.append(measure(server, application, redis, warm=True))
            medians = [statistics.median(column) for column in zip(*warm, strict=True)]
            first = [row[1] for row in cold]
            name = f"{server}, {'view' if application == VIEW else 'mount'}"
            print(
                f"| {name} | {statistics.median(first):.0f} ms (max {max(first):.0f}) "
                f"| {medians[1]:.1f} ms (max {max(row[1] for row in warm):.1f}) "
                f"| {medians[2]:.1f} ms | {medians[0]:.0f} ms |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
