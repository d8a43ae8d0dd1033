"""Compare this checkout with another one: both servers run, and are asked in turn, in short rounds.

The machine's speed drifts from minute to minute, and takes both along: the median of the rounds' ratios remains. Two
ratios of this checkout to the other one are printed, and more is better in both: calls per second, and calls per
second of the server's processor time, which depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import uvloop

from tests.bench.__main__ import prepare
from tests.bench.load import guarded
from tests.bench.process import PinnedRedis, ServerProcess
from tests.bench.servers import SERVERS, Server
from tests.bench.stage import Scale, Stage
from tests.bench.workloads import WORKLOADS


def main() -> None:
    """Read the command line, measure, print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.paired", description=__doc__)
    parser.add_argument("other", type=Path, help="the folder of the other checkout")
    parser.add_argument("--servers", default="mount-uvicorn-redis,mount-uvicorn-memory,view-uvicorn-memory")
    parser.add_argument("--workloads", default="session,alone")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--mcp", type=json.loads, default={}, help="what this checkout's MCP_TRANSPORT also contains")
    options = parser.parse_args()
    prepare()
    scale = Scale(seconds=options.seconds, warm_up=0.2)
    for server in (SERVERS[name] for name in options.servers.split(",")):
        with both(server, options.other.resolve(), scale, options.mcp) as stages:
            for workload in options.workloads.split(","):
                pairs = [*rounds(stages, workload, options.rounds)]
                rates = [own.rate / other.rate for own, other in pairs]
                work = [own.rate_of_processor / other.rate_of_processor for own, other in pairs]
                print(f"{server.name:24} {workload:10} {summary(rates)}  processor {summary(work)}", flush=True)


def summary(ratios: Sequence[float]) -> str:
    """Return the median of ratios, and between what they are."""
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


@contextmanager
def both(server: Server, other: Path, scale: Scale, settings: Any) -> Iterator[Sequence[Stage]]:
    """Start the server of this checkout, with more settings, and that of the other one, each with its own Redis."""
    own = replace(server, variables={**server.variables, "BENCH_MCP": json.dumps(settings)})
    with ExitStack() as stack:
        stages = []
        for root, each in ((ServerProcess.root, own), (other, server)):
            redis = stack.enter_context(PinnedRedis()) if server.redis else None
            process = ServerProcess(each, redis=redis)
            process.root = root
            stages.append(Stage(stack.enter_context(process), scale))
        yield stages


class Round(NamedTuple):
    """What a server did in one round, in calls per second: of the clock, and of its processor time."""

    rate: float
    rate_of_processor: float


def rounds(stages: Sequence[Stage], workload: str, count: int) -> Iterator[tuple[Round, Round]]:
    """Yield the rounds of both, asked in turn; who is first changes from round to round."""
    for number in range(count + 1):
        order = stages if number % 2 else stages[::-1]
        measured = {id(stage): measure(stage, workload) for stage in order}
        if number:  # the first round warms up
            yield measured[id(stages[0])], measured[id(stages[1])]


def measure(stage: Stage, workload: str) -> Round:
    """Run a workload for one round."""
    facts = uvloop.run(guarded(WORKLOADS[workload].run(stage)))
    return Round(facts["rate"], facts["rate"] / facts["server_busy"])


if __name__ == "__main__":
    main()
