"""Serve the fixture until it is interrupted.

python -m tests.conformance.serve --port 8000 --server daphne --through view
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("daphne", "uvicorn")
APPLICATIONS = ("view", "mounted")
SETTINGS = "tests.conformance.fixture.settings"


def command(server: str, through: str, port: int) -> list[str]:
    """Return the command line of one server on the loopback interface."""
    application = f"tests.conformance.fixture.asgi:{through}"
    options = {
        "daphne": ["-b", "127.0.0.1", "-p", str(port), "-v", "0"],
        "uvicorn": ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"],
    }
    return [sys.executable, "-m", server, *options[server], application]


def environment() -> dict[str, str]:
    """Return the environment that a server of the fixture runs in."""
    return {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS}


def main() -> None:
    """Become the server asked for."""
    parser = argparse.ArgumentParser(description="Serve the conformance fixture.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--server", choices=SERVERS, default="daphne")
    parser.add_argument("--through", choices=APPLICATIONS, default="view")
    options = parser.parse_args()
    os.chdir(ROOT)
    line = command(options.server, options.through, options.port)
    os.execve(line[0], line, environment())  # noqa: S606


if __name__ == "__main__":
    main()
