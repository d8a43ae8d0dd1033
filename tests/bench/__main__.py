"""Run servers and workloads in interleaved rounds, and write down what was measured.

The server has a core of its own, the load and Redis have another; two workers share all cores with the load.
Every answer is checked; a wrong one ends the run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.environments import ENVIRONMENTS
from tests.bench.load import guarded
from tests.bench.machine import machine, others_busy, versions
from tests.bench.process import PinnedRedis, ServerProcess, load_core
from tests.bench.report import FIGURES
from tests.bench.results import Results, command, slower_than
from tests.bench.servers import QUICK_SERVERS, SERVERS, Server
from tests.bench.stage import FULL, QUICK, Facts, Scale, Stage
from tests.bench.tables import LIMIT, OURS
from tests.bench.workloads import WORKLOADS
from tests.support.processes import MissingProgramError

ROUNDS = 3
QUIET = 0.1
"""How much of one core other processes may use."""


def main() -> None:
    """Read the command line, measure, write."""
    options = parse()
    scale = QUICK if options.quick else FULL
    scale = replace(scale, seconds=options.seconds or scale.seconds)
    names = options.servers or (QUICK_SERVERS if options.quick else SERVERS)
    servers = installed([SERVERS[name] for name in names])
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    results: dict[str, Any] = {
        "command": command(sys.argv[1:]),
        "machine": machine(),
        "versions": versions(server.name for server in servers),
        "rounds": rounds,
        "seconds": scale.seconds,
        "connections": scale.connections,
        "others_busy": others_busy(),
        "runs": [],
    }
    if results["others_busy"] > QUIET:
        print(
            f"OTHER PROCESSES USE {results['others_busy']:.2f} CORES: the figures will be too low.", file=sys.stderr
        )
    prepare()
    for number in range(1, rounds + 1):
        for server in servers:
            suiting = [name for name in options.workloads if WORKLOADS[name].suits(server)]
            for workload, facts in visit(server, suiting, scale):
                words = (f"{fact}={value:.4g}" for fact, value in facts.items())
                print(f"{number} {server.name:22} {workload:12}", *words, flush=True)
                results["runs"].append({"round": number, "server": server.name, "workload": workload, "facts": facts})
                write(options.output, results)
    if options.quick and (slow := slower_than(Results.read(FIGURES), Results(results), OURS, (LIMIT, "sdk-json"))):
        sys.exit(f"CALLS ARE SLOWER THAN PUBLISHED: {'; '.join(slow)}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of a few servers")
    parser.add_argument("--servers", type=_names(SERVERS), help="names, with commas between")
    parser.add_argument(
        "--workloads", type=_names(WORKLOADS), default=[*WORKLOADS], help="names, with commas between"
    )
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--seconds", type=float, help="how long each measurement lasts")
    parser.add_argument("--output", type=Path, help="the folder that results.json is written to")
    return parser.parse_args()


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"no such: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return names

    return split


def installed(servers: Sequence[Server]) -> list[Server]:
    """Install what the servers need; leave those out for which a program is missing."""
    missing = set()
    for name in dict.fromkeys(server.environment for server in servers):
        try:
            ENVIRONMENTS[name].install()
        except MissingProgramError as error:
            print(f"LEFT OUT: all servers of {name}: {error}", file=sys.stderr)
            missing.add(name)
    return [server for server in servers if server.environment not in missing]


def prepare() -> None:
    """Give the load its core, and as many connections as it wants."""
    os.sched_setaffinity(0, {load_core()})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def visit(server: Server, workloads: Sequence[str], scale: Scale) -> Iterator[tuple[str, Facts]]:
    """Do workloads to a server: most to one process, those that need a fresh one to their own."""
    shared = [name for name in workloads if not WORKLOADS[name].fresh]
    for group in (shared, *([name] for name in workloads if WORKLOADS[name].fresh)):
        if group:
            yield from serve(server, group, scale)


def serve(server: Server, workloads: Sequence[str], scale: Scale) -> Iterator[tuple[str, Facts]]:
    """Start a server, do workloads to it, and stop it."""
    with ExitStack() as stack:
        redis = stack.enter_context(PinnedRedis()) if server.redis else None
        process = ServerProcess(server, workers=WORKLOADS[workloads[0]].workers, redis=redis)
        stage = Stage(stack.enter_context(process), scale)
        for name in workloads:
            facts = uvloop.run(guarded(WORKLOADS[name].run(stage)))
            yield name, {fact: float(f"{value:.5g}") for fact, value in facts.items()}


def write(folder: Path | None, results: dict[str, Any]) -> None:
    """Write what there is so far."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
