"""Measure the cold start of a function: fresh processes in interleaved rounds, the median of each variant.

    python -m tests.bench.cold_start [--runs 9]

Printed are milliseconds of processor time until the handler is made, and for the first event, a call of a tool.
"""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.aws_lambda.events import http
from tests.support.http.messages import call
from tests.support.processes import ROOT

SETTINGS = "tests.support.conformance_site.settings"

HANDLER = "from mcp_transport.adapters.aws_lambda import lambda_handler; handler = lambda_handler()"
PLAIN = """
import django; django.setup()
from mcp_transport.adapters import aws_function
from mcp_transport.bootstrap import endpoint
served = endpoint()
served.kernel.warm = lambda versions: ()
handler = aws_function.LambdaHandler(served)
"""
PROGRAM = """
import json, sys, time
began = time.process_time()
{made}
made = time.process_time()
answer = handler(json.loads(sys.argv[1]), None)
assert answer["statusCode"] == 200, answer
print(json.dumps([made - began, time.process_time() - made]))
"""


def main() -> None:
    """Measure, and print a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        kept = {"PYTHONPYCACHEPREFIX": str(Path(folder) / "kept"), "PYTHONDONTWRITEBYTECODE": ""}
        none = {"PYTHONPYCACHEPREFIX": str(Path(folder) / "none"), "PYTHONDONTWRITEBYTECODE": "1"}
        variants = {
            "lambda_handler, without bytecode": (HANDLER, none),
            "by hand: garbage collection on, nothing built before": (PLAIN, kept),
            "lambda_handler": (HANDLER, kept),
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        once(*variants["lambda_handler"])  # compiles
        for _ in range(runs):
            for name, variant in variants.items():
                measured[name].append(once(*variant))
    for name, times in measured.items():
        made, first = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:55} handler {made:5.0f} ms, first event {first:5.1f} ms")


def once(made: str, variables: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of one fresh process."""
    program, event = PROGRAM.format(made=made), json.dumps(http(call("test_simple_text")))
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS, **variables}
    done = subprocess.run(
        [sys.executable, "-c", program, event], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    handler, first = json.loads(done.stdout)
    return handler, first


if __name__ == "__main__":
    main()
