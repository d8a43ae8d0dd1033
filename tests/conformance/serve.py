"""Serve the fixture until it is interrupted.

python -m tests.conformance.serve --port 8000 --server daphne --through view
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.support.processes import LOOPBACK, ROOT

SETTINGS = "tests.support.conformance_site.settings"
APPLICATION = "tests.support.conformance_site.asgi"
APPLICATIONS = ("view", "mounted")
OPTIONS = {
    "daphne": ("--bind", LOOPBACK, "--verbosity", "0"),
    "uvicorn": ("--host", LOOPBACK, "--log-level", "warning"),
}


def main() -> None:
    """Become the server asked for."""
    parser = argparse.ArgumentParser(description="Serve the conformance fixture.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--server", choices=OPTIONS, default="daphne")
    parser.add_argument("--through", choices=APPLICATIONS, default="view")
    options = parser.parse_args()
    os.chdir(ROOT)
    server = [sys.executable, "-m", options.server, *OPTIONS[options.server], "--port", str(options.port)]
    line = [*server, f"{APPLICATION}:{options.through}"]
    os.execve(line[0], line, {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS})  # noqa: S606


if __name__ == "__main__":
    main()
