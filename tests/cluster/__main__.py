"""Run the demonstration project on three nodes: Redis behind them, nginx in front of them, all on loopback.

    python -m tests.cluster [--port 8000]

`.cluster.json` names every process, so that one can be killed to see what happens; logs and the database are in
`.cluster/`. Ctrl-C (or SIGTERM) stops everything.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from tests.support.cluster.arrangement import Arrangement
from tests.support.processes import LOOPBACK, ROOT, Process, StartError, is_free, program

SETTINGS = "mcpsite.settings"
APPLICATION = "mcpsite.asgi:application"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 0.2
PREPARE_SECONDS = 120


class Interruption:
    """Notes that the user wants to stop; nothing is torn out of what it is doing."""

    def __init__(self) -> None:
        self.wanted = False
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True


def refuse_to_collide(file: Path, port: int) -> None:
    """Look for what would be in the way."""
    for name in ("redis-server", "nginx"):
        program(name)
    if file.exists():
        known = json.loads(file.read_text())["processes"]
        if left := [str(process["pid"]) for process in known if not is_free(process["port"])]:
            raise StartError(f"{file.name} names processes that still run; to end them: kill {' '.join(left)}")
    if not is_free(port):
        raise StartError(f"Port {port} is taken; choose another: make cluster PORT={port + 1}")


def prepare_database(environment: dict[str, str]) -> None:
    """Make the tables and load the demonstration data."""
    variables = {**os.environ, **environment, "DJANGO_SETTINGS_MODULE": SETTINGS}
    for words in ["migrate", "--verbosity=0"], ["load_demo"]:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            timeout=PREPARE_SECONDS,
            process_group=0,
        )
        if done.returncode:
            raise StartError(f"manage.py {words[0]} failed:\n{done.stderr}")


def write_file(file: Path, arrangement: Arrangement) -> None:
    """Say who runs where, all at once."""
    processes = [
        {"role": process.role, "name": process.name, "port": process.port, "pid": process.pid}
        for process in arrangement.processes
    ]
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({"url": arrangement.url, "processes": processes}, indent=2) + "\n")
    draft.replace(file)


def introduce(arrangement: Arrangement, file: Path) -> None:
    """Print what runs and what to try."""
    site = f"http://{LOOPBACK}:{arrangement.nginx.port}"
    for process in arrangement.processes:
        print(f"{process.name:8} {LOOPBACK}:{process.port:<6} pid {process.pid}")
    print(f"""
MCP:  {arrangement.url}  (each request goes to the next node; nothing is sticky)
Site: {site}/  (admin: {site}/admin/, log in as admin / admin)
Try:  claude mcp add --transport http shop {arrangement.url}
      kill -9 {arrangement.nodes[0].pid}   # a node dies, the sessions go on with the others
These processes are listed in {file.name}; their logs are in {arrangement.nginx.folder}
Stop with Ctrl-C.""")
    sys.stdout.flush()


def farewell(process: Process) -> str:
    """Say how a process ended that nobody here stopped."""
    status = process.process.wait()
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    others = "; the other nodes go on" if process.role == "node" else ""
    return f"{process.name} (pid {process.pid}) {how}{others}."


def watch(arrangement: Arrangement, interruption: Interruption) -> None:
    """Report deaths until the user has seen enough, or nothing is left."""
    living = arrangement.processes
    while living and not interruption.wanted:
        for process in [process for process in living if not process.alive]:
            print(farewell(process), flush=True)
            living.remove(process)
        time.sleep(LOOK_SECONDS)


def run(port: int, home: Path) -> None:
    """Start everything, wait for the signal, stop everything."""
    interruption = Interruption()
    file, folder = home / ".cluster.json", home / ".cluster"
    refuse_to_collide(file, port)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {"MCPSITE_DATABASE": str(folder / "db.sqlite3")}
    prepare_database(environment)
    arrangement = Arrangement(
        settings=SETTINGS, application=APPLICATION, environment=environment, port=port, folder=folder
    )
    try:
        with arrangement:
            write_file(file, arrangement)
            introduce(arrangement, file)
            watch(arrangement, interruption)
            print("Stopping.", flush=True)
    finally:
        file.unlink(missing_ok=True)  # last: as long as it is there, another start refuses to collide


def main() -> int:
    """Run it as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="nginx's port, default %(default)s")
    parser.add_argument("--home", type=Path, default=ROOT, help="where .cluster.json is written")
    options = parser.parse_args()
    try:
        run(options.port, options.home.resolve())
    except StartError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
