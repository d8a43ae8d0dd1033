"""Run the soak: `python -m tests.cluster.soak --seconds 600 --seed 1`; exit with 1 if anything was violated."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.soak.customer import Customer
from tests.cluster.soak.ledger import Ledger
from tests.cluster.soak.nemesis import Nemesis
from tests.cluster.soak.watch import Watch, keys_and_bytes
from tests.support.cluster.arrangement import Arrangement
from tests.support.redis.server import RedisServer

SITE = "tests.support.cluster.site"
LEASE, TTL, KEEP, DRAIN = 2.0, 30.0, 20.0, 2.0
SETTINGS = {
    "LEASE_SECONDS": LEASE,
    "SESSION_TTL_SECONDS": TTL,
    "STREAM_KEEP_SECONDS": KEEP,
    "DRAIN_SECONDS": DRAIN,
    "KEEPALIVE_SECONDS": 2.0,
    "SSE_AFTER_SECONDS": 0.2,
    "RETRY_MILLISECONDS": 200,
    "CLIENT_REPLY_TIMEOUT_SECONDS": 20.0,
}
GROWTH_BYTES = 512 * 1024
OF_NODES = ("mcp:nodes", "mcp:born", "mcp:bus", "mcp:{in:")
# A tool that needs Redis while it is away fails, and the log says how: that is as it should be.
TOOL_WITHOUT_REDIS = re.compile(
    r"^Traceback .*\n(?: .*\n)*? .*/mcpserver/tools/base\.py.*\n(?: .*\n)+"
    r"mcp_transport\.exceptions\.BackendError: .*\n",
    re.MULTILINE,
)
HAPPENINGS = (
    *("taken_over", "superseded", "fenced", "abandoned", "rerun", "given_up", "lost", "refilled"),
    *("expired", "rehydrated", "node_lost", "drained"),
)
IN_LOGS = ("Traceback", "a task of the engine failed", "a task does not end", "gave up")


async def soak(arrangement: Arrangement, folder: Path, seconds: float, seed: str, clients: int) -> Ledger:
    """Let the clients run against the nemesis, then have everybody leave, and see what stays."""
    ledger, watch = Ledger(), Watch(arrangement)
    await _warm_up(arrangement, folder)
    base = keys_and_bytes(arrangement)
    customers = [Customer(n, arrangement.nginx.port, ledger, seed, folder) for n in range(clients)]
    nemesis = Nemesis(arrangement, ledger, seed, LEASE)
    watching = asyncio.create_task(watch.run())
    running = [asyncio.create_task(customer.run()) for customer in customers]
    raging = asyncio.create_task(nemesis.run())
    await _pass(seconds, ledger, raging)
    nemesis.stop()
    await raging
    await asyncio.sleep(2 * LEASE)
    for customer in customers:
        customer.leaving.set()
    await asyncio.wait(running)
    await _compare_announcements(customers, watch, ledger)
    await asyncio.gather(*(customer.leave(politely=n % 2 == 0) for n, customer in enumerate(customers)))
    watching.cancel()
    print(f"everybody has left; in {TTL:g} s their sessions are over", flush=True)
    await asyncio.sleep(TTL + 3 * LEASE)
    _compare_store(arrangement, base, ledger)
    _read_logs(arrangement, ledger)
    _report(watch, ledger)
    return ledger


async def _pass(seconds: float, ledger: Ledger, raging: asyncio.Task[None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not raging.done():
        await asyncio.wait([raging], timeout=min(left, 30.0))
        counts = ledger.counts
        print(
            f"{ledger.now:6.0f} s  {counts['calls']} calls, {counts['resumes']} resumes, "
            f"{len(ledger.violations)} violations",
            flush=True,
        )


async def _warm_up(arrangement: Arrangement, folder: Path) -> None:
    """Have every node join and every script known to Redis before the base is taken."""
    ledger = Ledger()
    customers = [Customer(n, arrangement.nginx.port, ledger, "warm up", folder) for n in range(6)]
    running = [asyncio.create_task(customer.run()) for customer in customers]
    await asyncio.sleep(3)
    for customer in customers:
        customer.leaving.set()
    await asyncio.wait(running)
    await asyncio.gather(*(customer.leave(politely=True) for customer in customers))
    await asyncio.sleep(LEASE)


async def _compare_announcements(customers: Sequence[Customer], watch: Watch, ledger: Ledger) -> None:
    """See that each session has heard each announcement of its life once, those that Redis lost at most once."""
    await asyncio.sleep(3 * LEASE)
    await asyncio.to_thread(watch.look)
    for customer in customers:
        sent, answered = customer.opened
        heard, now = customer.listener.changes, time.time()
        least, most = watch.kept_between(answered, now), watch.announced_between(sent, now)
        ledger.counts["announcements heard"] += len(heard)
        if not len(least) <= len(heard) <= len(most):
            counts = f"{len(heard)} announcements of {len(least)} to {len(most)}"
            ledger.violation(f"{customer.name} heard {counts}, opened within {sent} to {answered}", customer.story)


def _compare_store(arrangement: Arrangement, base: tuple[list[str], int], ledger: Ledger) -> None:
    """See that nothing is left of the sessions but the marks of those that were closed."""
    keys, size = keys_and_bytes(arrangement)
    with arrangement.redis.connect() as client:
        closed = [key for key in keys if client.type(key) == "hash" and client.hkeys(key) == ["closed"]]
        marks = sum(client.memory_usage(key) or 0 for key in closed)
        sets = {key: client.zcard(key) for key in keys if client.type(key) == "zset"}
    print(f"Redis: {len(base[0])} keys and {base[1]:,} bytes before, {len(keys)} keys and {size:,} bytes after")
    print(f"{len(closed)} of them are marks of closed sessions, with {marks:,} bytes")
    if left := [key for key in keys if key not in closed and not key.startswith(OF_NODES)]:
        ledger.violation(f"{len(left)} keys are left: {left[:10]}, members {sets}")
    if size - base[1] - marks > GROWTH_BYTES:
        ledger.violation(f"Redis holds {size - base[1] - marks:,} bytes more than before")
    if sets.get("mcp:nodes") != len(arrangement.nodes):
        ledger.violation(f"there are {sets.get('mcp:nodes')} nodes")


def _read_logs(arrangement: Arrangement, ledger: Ledger) -> None:
    for node in arrangement.nodes:
        log, failed = TOOL_WITHOUT_REDIS.subn("", node.log)
        lines = log.splitlines()
        ledger.counts["log: a tool failed without Redis"] += failed
        for happening in HAPPENINGS:
            ledger.counts[f"log: {happening}"] += sum(line.startswith(f"{happening}:") for line in lines)
        bad = [number for number, line in enumerate(lines) if any(word in line for word in IN_LOGS)]
        if bad:
            excerpt = "\n    ".join(lines[max(0, bad[0] - 1) : bad[0] + 40])
            ledger.violation(f"{node.name} logged {len(bad)} times what it must not:\n    {excerpt}")


def _report(watch: Watch, ledger: Ledger) -> None:
    for name, count in sorted(ledger.counts.items()):
        print(f"{count:>9}  {name}")
    print(f"{ledger.slowest:>9.1f}  seconds took the slowest call")
    print(f"{watch.most_keys:>9}  keys at most in Redis")
    for name, samples in watch.resident.items():
        first, last, most = (kib // 1024 for kib in (samples[0], samples[-1], max(samples)))
        print(f"{name}: {first} MiB at first, {last} MiB at last, {most} MiB at most, {len(samples)} looks")


def main() -> int:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(prog="tests.cluster.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", default="", help="the dice's beginning; random if left out")
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the logs are to stay")
    options = parser.parse_args()
    seed = options.seed or str(random.randrange(10**6))  # noqa: S311
    print(f"seed {seed}, {options.seconds:g} s, {options.clients} clients", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = Path(scratch)
        environment = {"SITE_FOLDER": scratch, "SITE_MCP": json.dumps(SETTINGS)}
        arrangement = Arrangement(
            ["daphne", "daphne", "uvicorn"],
            settings=f"{SITE}.settings",
            application=f"{SITE}.asgi:application",
            environment=environment,
            redis=RedisServer(aof=True, folder=options.folder),
            folder=options.folder,
        )
        with arrangement:
            ledger = asyncio.run(soak(arrangement, folder, options.seconds, seed, options.clients))
    print(f"{len(ledger.violations)} violations with seed {seed}")
    for violation in ledger.violations[:50]:
        print(f"  {violation.splitlines()[0]}")
    return 1 if ledger.violations else 0


if __name__ == "__main__":
    sys.exit(main())
