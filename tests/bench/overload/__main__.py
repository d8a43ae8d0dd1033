"""Put a server under more load than it can carry, with its limits and without them, and say which bounds hold.

The server has a core of its own; the load, which never waits for it, and Redis have another.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.__main__ import prepare
from tests.bench.load import guarded
from tests.bench.machine import machine, others_busy, versions
from tests.bench.overload import tables
from tests.bench.overload.callers import DIALECTS
from tests.bench.overload.capacity import CAPACITY
from tests.bench.overload.generator import FellBehind
from tests.bench.overload.scenarios import SCENARIOS, run
from tests.bench.overload.server import MODES, protection, serving
from tests.bench.overload.stage import Scale, Stage
from tests.bench.overload.verdicts import failed, verdicts

_SHORT_SECONDS = 5.0
_PACKAGES = ("django", "mcp", "uvicorn", "uvloop", "httptools", "redis", "hiredis", "orjson")
_BACKENDS = ("redis", "memory")


def main() -> None:
    """Read the command line, measure, judge."""
    options = parse()
    content = begun(options)
    if missing := content["protection"]["missing"]:
        print(f"PROTECTION IS NOT THERE: this checkout lacks {', '.join(missing)}", file=sys.stderr)
    prepare()
    for result in measured(options.scenarios, options.modes, Scale.lasting(options.seconds), options):
        content["runs"].append(result)
        print(f"{result['scenario']} {result['mode']} protection: {result.get('fell_behind', 'done')}", flush=True)
        write(options.output, content)
    print(tables.page(content))
    broken = failed(verdicts(content))
    if unmeasured := [one for one in content["runs"] if "facts" not in one]:
        sys.exit(f"THE GENERATOR FELL BEHIND in {len(unmeasured)} scenarios, which are not reported")
    if broken:
        sys.exit(f"{len(broken)} BOUNDS DO NOT HOLD WITH PROTECTION")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each overload lasts")
    parser.add_argument(
        "--short", action="store_const", dest="seconds", const=_SHORT_SECONDS, help="overload for 5 s"
    )
    parser.add_argument("--backend", choices=_BACKENDS, default=_BACKENDS[0])
    parser.add_argument("--dialect", choices=DIALECTS, default=DIALECTS[0], help="calls in sessions, or without")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=[*SCENARIOS])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="with and without protection")
    parser.add_argument("--output", type=Path, help="the folder that results.json and the tables are written to")
    return parser.parse_args()


def begun(options: argparse.Namespace) -> dict[str, Any]:
    """Return results without runs."""
    words = [f"--seconds {options.seconds:g}", f"--backend {options.backend}", f"--dialect {options.dialect}"]
    return {
        "command": " ".join(["python -m tests.bench.overload", *words]),
        "machine": machine(),
        "versions": {name: value for name, value in versions(["raw"]).items() if name in _PACKAGES},
        "backend": options.backend,
        "dialect": options.dialect,
        "seconds": options.seconds,
        "capacity": CAPACITY,
        "protection": protection(),
        "others_busy": others_busy(),
        "runs": [],
    }


def measured(
    scenarios: Sequence[str], modes: Sequence[str], scale: Scale, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Do each scenario in each mode, to a fresh server."""
    for name in scenarios:
        for mode in modes:
            result: dict[str, Any] = {"scenario": name, "mode": mode}
            with serving(options.backend, mode) as process:
                try:
                    result["facts"] = uvloop.run(guarded(run(name, Stage(process, scale, options.dialect))))
                except FellBehind as late:
                    result["fell_behind"] = str(late)
            yield result


def write(folder: Path | None, content: dict[str, Any]) -> None:
    """Write what there is so far."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(content) + "\n")
        (folder / "results.md").write_text(tables.page(content))


if __name__ == "__main__":
    main()
