"""Count runs and queries with coalescing and batching, and calls beside a failing tool with a circuit breaker.

With and without each in one run; the server has a core of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.__main__ import prepare
from tests.bench.less_work.caller import Line
from tests.bench.less_work.scale import Scale
from tests.bench.load import guarded
from tests.bench.overload.server import serving
from tests.bench.wire import now

_REFUSED_PAUSE_SECONDS = 0.05
"""Clients that are refused wait at least so long; Retry-After would be more."""


def main() -> None:
    """Read the command line, measure, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.less_work", description=__doc__)
    parser.add_argument("--output", type=Path, help="the file that the tables are written to")
    options = parser.parse_args()
    prepare()
    page = tables(measured(Scale()))
    print(page)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(page)


def measured(scale: Scale) -> dict[str, Any]:
    """Measure all of it on one server."""
    with serving("redis", "with") as process:
        return uvloop.run(guarded(_measure(process.port, scale)))


async def _measure(port: int, scale: Scale) -> dict[str, Any]:
    work = [await _work(port, scale, tool) for tool in ("plain", "coalesced", "batched")]
    failing = [await _failing(port, scale, tool) for tool in ("fragile", "guarded")]
    return {"scale": scale, "work": work, "failing": failing}


@asynccontextmanager
async def _lines(port: int, count: int) -> Any:
    lines = [await Line.open(port) for _ in range(count)]
    try:
        yield lines
    finally:
        for line in lines:
            line.connection.close()


async def _work(port: int, scale: Scale, tool: str) -> dict[str, Any]:
    """Make the calls, so many at once, and return what the server counted."""
    numbers = iter(range(scale.calls))

    async def caller(line: Line) -> None:
        for number in numbers:
            a = number % scale.kinds
            assert (await line.call(tool, {"a": a})) == {"result": a}

    async with _lines(port, scale.at_once) as lines:
        await lines[0].call("take_counts", {})
        began = now()
        await asyncio.gather(*map(caller, lines))
        seconds = now() - began
        counts = await lines[0].call("take_counts", {})
    return {"tool": tool, "seconds": seconds, **counts}


async def _failing(port: int, scale: Scale, tool: str) -> dict[str, Any]:
    """Call the tool that fails, and another one beside it, before the failure, during it and after it."""
    steady: list[float] = []
    answered: list[float] = []
    stop = asyncio.Event()

    async def caller(line: Line, name: str, times: list[float]) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            if await line.call(name, {"a": number}) is not None:
                times.append(now())
            else:
                await asyncio.sleep(_REFUSED_PAUSE_SECONDS)

    async with _lines(port, 5 * scale.others + 1) as (control, *lines):
        others = [asyncio.create_task(caller(line, "steady", steady)) for line in lines[: scale.others]]
        others += [asyncio.create_task(caller(line, tool, answered)) for line in lines[scale.others :]]
        began = now()
        await asyncio.sleep(scale.seconds)
        await control.call("cut_off", {"down": True})
        cut = now()
        await asyncio.sleep(scale.seconds)
        await control.call("cut_off", {"down": False})
        restored = now()
        await asyncio.sleep(scale.seconds)
        while not any(time > restored for time in answered):  # noqa: ASYNC110 (the tool of another process)
            await asyncio.sleep(_REFUSED_PAUSE_SECONDS)
        stop.set()
        await asyncio.gather(*others)
    before = _rate(steady, began, cut)
    return {
        "tool": tool,
        "before": before,
        "during": _rate(steady, cut, restored),
        "works_again": min(time for time in answered if time > restored) - restored,
        "recovered": _recovered(steady, restored, before),
    }


def _rate(times: Sequence[float], begin: float, end: float) -> float:
    return sum(begin <= time < end for time in times) / (end - begin)


def _recovered(times: Sequence[float], restored: float, before: float) -> float:
    """Return after how long a quarter of a second has 80 % of the calls that it had before, or infinity."""
    for step in range(200):
        begin = restored + step * 0.05
        if _rate(times, begin, begin + 0.25) >= 0.8 * before:
            return step * 0.05
    return float("inf")


def tables(found: dict[str, Any]) -> str:
    """Return the tables in Markdown."""
    scale = found["scale"]
    lines = [
        f"{scale.calls} calls of one caller with {scale.kinds} different arguments, {scale.at_once} at once:",
        "",
        "| Tool | runs of the function | queries | seconds |",
        "|---|--:|--:|--:|",
        *(f"| {row['tool']} | {row['runs']} | {row['queries']} | {row['seconds']:.2f} |" for row in found["work"]),
        "",
        f"{4 * scale.others} connections call a tool that fails after a second, {scale.others} call another one:",
        "",
        "| Circuit breaker | other tool before, calls/s | during | 80 % again after | the tool works after |",
        "|---|--:|--:|--:|--:|",
        *(
            f"| {'with' if row['tool'] == 'guarded' else 'without'} | {row['before']:.0f} | {row['during']:.0f} "
            f"| {row['recovered']:.2f} s | {row['works_again']:.2f} s |"
            for row in found["failing"]
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
