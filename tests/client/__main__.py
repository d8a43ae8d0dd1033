"""Repeatedly kill the node that runs a call of a client with three endpoints: `make failover`.

Each run calls a tool that takes five seconds and reports progress, and kills its node with SIGKILL after one of the
tenths. A durable tool and one that is safe to repeat must give their result, another one `ResultUnknown`; no report
comes twice, and no tool runs twice that may not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter

from tests.client.kills import STEPS, TOOLS, kill_in_mid_call
from tests.support.cluster.stage import Stage


async def _run(runs: int, seconds: float) -> int:
    faults, outcomes = 0, Counter[str]()
    with Stage(("daphne", "uvicorn", "daphne")) as stage:
        for number in range(runs):
            stage.mend()
            tool, tenth = TOOLS[number % len(TOOLS)], number % STEPS + 1
            started_at = time.monotonic()
            killed = await kill_in_mid_call(stage, tool, tenth, seconds)
            outcome = "unknown" if killed.unknown is not None else "result"
            outcomes[f"{tool}: {outcome}, {len(killed.runs)} run(s)"] += 1
            faults += bool(killed.faults())
            text = "; ".join(killed.faults()) or "right"
            print(
                f"{number + 1:4} {tool:14} tenth {tenth:2}  {time.monotonic() - started_at:5.1f} s  {text}",
                flush=True,
            )
    for outcome, times in sorted(outcomes.items()):
        print(f"{times:5} x {outcome}")
    print(f"{faults} of {runs} runs were wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make failover", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a call takes")
    options = parser.parse_args()
    sys.exit(asyncio.run(_run(options.runs, options.seconds)))
