"""The cost of a call with this client and with the SDK's own, in alternating rounds: `make bench-client`.

Both speak 2025-11-25 with the same server: one of this package on a node of its own, and one of the SDK. Beside this
package's server calls of this client carry an idempotency key, so their answers are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence

import mcp.client

from mcp_transport.client import Client
from tests.client.servers import PLAIN_SERVER
from tests.support.cluster.stage import Stage
from tests.support.processes import LOOPBACK, free_port

MAX_OVERHEAD = 1.05


async def _measure(client: mcp.client.Client, tool: str, arguments: dict[str, object], calls: int) -> float:
    started_at = time.perf_counter()
    for _ in range(calls):
        await client.call_tool(tool, arguments)
    return time.perf_counter() - started_at


async def _compare(urls: Sequence[str], tool: str, arguments: dict[str, object], rounds: int, calls: int) -> float:
    """Return the median of the paired ratios."""
    theirs, ours = mcp.client.Client(urls[0], mode="legacy"), Client(urls, mode="legacy")
    ratios = []
    async with theirs, ours:
        for client in (theirs, ours):
            await _measure(client, tool, arguments, calls)
        for number in range(rounds):
            pair = [theirs, ours] if number % 2 else [ours, theirs]
            seconds = {id(client): await _measure(client, tool, arguments, calls) for client in pair}
            ratios.append(seconds[id(ours)] / seconds[id(theirs)])
    return statistics.median(ratios)


async def _run(rounds: int, calls: int) -> int:
    medians = {}
    with Stage(("uvicorn", "uvicorn", "uvicorn")) as stage:
        urls = [node.url for node in stage.nodes]
        for count in (1, 3):
            label = f"this package's server, {count} endpoint(s)"
            medians[label] = await _compare(urls[:count], "add", {"a": 1, "b": 2}, rounds, calls)
    port = free_port()
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", PLAIN_SERVER, str(port))
    try:
        url = f"http://{LOOPBACK}:{port}/mcp"
        while True:
            try:
                (await asyncio.open_connection(LOOPBACK, port))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        medians["the SDK's server, 1 endpoint"] = await _compare([url], "act", {"text": "a"}, rounds, calls)
    finally:
        server.kill()
        await server.wait()
    for label, median in medians.items():
        print(f"{median:6.3f}  {label}")
    return 0 if max(medians.values()) <= MAX_OVERHEAD else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench-client", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=200, help="calls of each client in a round")
    options = parser.parse_args()
    sys.exit(asyncio.run(_run(options.rounds, options.calls)))
