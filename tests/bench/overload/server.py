"""The server under load: with the limits of the package as they are by default, and with limits out of reach."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mcp_transport import conf
from tests.bench.process import PinnedRedis, ServerProcess
from tests.bench.servers import Server, uvicorn
from tests.bench.wire import now

MODES = ("with", "without")
"""With protection, which is what the defaults and `max_concurrency` do, and without."""

_OUT_OF_REACH: Final[Mapping[str, float]] = {
    "MAX_CONCURRENT_CALLS": 1_000_000,
    "MAX_CONCURRENT_CALLS_PER_CALLER": 1_000_000,
    "MAX_QUEUED_CALLS": 1_000_000,
    "MAX_QUEUED_CALLS_PER_CALLER": 1_000_000,
    "QUEUE_TIMEOUT_SECONDS": 86_400,
    "TOOL_TIMEOUT_SECONDS": 86_400,
}
_DECORATORS = Path(conf.__file__).with_name("server.py")
_SAMPLE_SECONDS = 0.25
_PAGE = os.sysconf("SC_PAGE_SIZE")


def protection() -> dict[str, Any]:
    """Return the defaults of the limits that this checkout has, and the names of those that it has not."""
    found = {name: conf.SETTINGS[name].default for name in _OUT_OF_REACH if name in conf.SETTINGS}
    missing = [name for name in _OUT_OF_REACH if name not in found]
    # The function itself cannot be imported without settings.
    if "max_concurrency" not in _DECORATORS.read_text():
        missing.append("@tool(max_concurrency=)")
    return {"defaults": found, "missing": missing}


def limits(mode: str) -> dict[str, str]:
    """Return the variables that put the limits of a mode in force."""
    if mode == "with":
        return {"BENCH_TOOL_LIMIT": "1"}
    return {"BENCH_LIMITS": json.dumps({k: v for k, v in _OUT_OF_REACH.items() if k in conf.SETTINGS})}


@contextmanager
def serving(backend: str, mode: str) -> Iterator[ServerProcess]:
    """Run a server, and Redis where it needs one; end it without waiting for calls."""
    server = Server(
        name=f"load-{backend}-{mode}",
        title="mount, uvicorn",
        kind="ours",
        command=uvicorn("tests.bench.overload.site.asgi:application"),
        variables={
            "DJANGO_SETTINGS_MODULE": "tests.bench.overload.site.settings",
            "BENCH_BACKEND": backend,
            **limits(mode),
        },
        redis=backend != "memory",
    )
    with ExitStack() as stack:
        redis = stack.enter_context(PinnedRedis()) if server.redis else None
        process = stack.enter_context(ServerProcess(server, redis=redis))
        try:
            yield process
        finally:
            if process.alive:
                process.kill()  # calls that never return would be waited for


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process; unlike what it shares with nobody, this costs it nothing to say."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1024**2


def seconds_without_core(pid: int) -> float:
    """Return how long the first thread of a process, its event loop's, was ready to run and had no core to run on."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


async def watch_memory(process: ServerProcess, samples: list[tuple[float, float]]) -> None:
    """Write down time and memory (MiB), until cancelled."""
    while True:
        samples.append((now(), resident_mib(process.pid)))
        await asyncio.sleep(_SAMPLE_SECONDS)
