"""The servers that must serve the project unchanged, and how each is started and ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.canaries import leaks
from tests.support.loop_guard import MARK
from tests.support.preloaded import Program
from tests.support.processes import start_program

ROOT = Path(__file__).resolve().parents[2]
SITE = "tests.support.site"
START_SECONDS = 30.0
STOP_SECONDS = 5.0
_ACCIDENTS = ("Traceback", "Task was destroyed", "never retrieved", "Unhandled", "Internal Server Error", MARK)
"""What no exchange may make a server print."""

Build = Callable[[str, str], list[str]]


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _uvicorn(parser: str) -> Build:
    return lambda port, adapter: _module(
        "uvicorn", "--host", "127.0.0.1", "--port", port, "--http", parser, f"{SITE}.asgi:{adapter}"
    )


def _gunicorn(application: str, *options: str) -> Build:
    return lambda port, adapter: _module(
        "gunicorn", "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "1", *options, application.format(adapter)
    )


ASGI: dict[str, Build] = {
    "daphne": lambda port, adapter: _module("daphne", "-b", "127.0.0.1", "-p", port, f"{SITE}.asgi:{adapter}"),
    "uvicorn-h11": _uvicorn("h11"),
    "uvicorn-httptools": _uvicorn("httptools"),
    "gunicorn": _gunicorn(SITE + ".asgi:{}", "--worker-class", "asgi"),
    "granian": lambda port, adapter: _module(
        "granian", "--host", "127.0.0.1", "--port", port, "--interface", "asgi", f"{SITE}.asgi:{adapter}"
    ),
    "runserver": lambda port, adapter: _module("django", "runserver", "--noreload", f"127.0.0.1:{port}"),
}
WSGI: dict[str, Build] = {
    "gunicorn-sync": _gunicorn(SITE + ".wsgi:application"),
    "gunicorn-gthread": _gunicorn(SITE + ".wsgi:application", "--worker-class", "gthread", "--threads", "4"),
    "wsgiref": lambda port, adapter: _module("django", "runserver", "--noreload", f"127.0.0.1:{port}"),
}
ADAPTERS = ("view", "mounted")


class Server:
    """A server process."""

    def __init__(
        self,
        name: str,
        adapter: str,
        database: Path,
        *,
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._build = {**ASGI, **WSGI}[name]
        self.adapter, self._options = adapter, options
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": f"{SITE}.settings",
            "PYTHONUNBUFFERED": "1",
            "SITE_ADAPTER": adapter,
            "SITE_DATABASE": str(database),
            "SITE_DAPHNE": "1" if name == "runserver" else "",
            **(variables or {}),
        }
        self.port = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        self._process: subprocess.Popen[bytes] | Program | None = None

    def start(self) -> None:
        """Start and wait until it answers; a port that was taken in the meantime costs another try."""
        for _ in range(3):
            self.port = free_port()
            command = [*self._build(str(self.port), self.adapter), *self._options]
            self._process = start_program(command, ROOT, self._environment, self._log)
            if self._is_ready(self._process):
                return
            self._end(self._process)
        raise AssertionError(f"{self.name} ({self.adapter}) did not start:\n{self.output()}")

    def _is_ready(self, process: subprocess.Popen[bytes] | Program) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).close()
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 503:
                    return True  # it answers, whatever it says
                time.sleep(0.05)  # it warms up
            except OSError:
                try:
                    process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                return False
            else:
                return True
        return False

    def output(self) -> str:
        """Return what the server has printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> str:
        """End it; return what it has printed."""
        if self._process is not None:
            self._end(self._process)
        output = self.output()
        self._log.close()
        return output

    @staticmethod
    def _end(process: subprocess.Popen[bytes] | Program) -> None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Pool:
    """The servers that run, one of each kind, started when first asked for."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._running: dict[tuple[str, str], Server] = {}

    def get(self, name: str, adapter: str) -> Server:
        """Return a running server."""
        if (name, adapter) not in self._running:
            server = Server(name, adapter, self._database)
            server.start()
            self._running[name, adapter] = server
        return self._running[name, adapter]

    def stop(self) -> dict[str, str]:
        """End them all, at once rather than one after the other; return the accidents they printed."""
        for server in self._running.values():
            server.terminate()
        printed = {f"{server.name} {server.adapter}": server.stop() for server in self._running.values()}
        return {name: found for name, output in printed.items() if (found := accidents(output))}


def accidents(output: str) -> str:
    """Return what was printed around each accident, and whatever secret was."""
    lines = output.splitlines()
    marks = [at for at, line in enumerate(lines) if any(word in line for word in _ACCIDENTS) or leaks(line)]
    return "\n".join(line for at, line in enumerate(lines) if any(mark - 5 <= at <= mark + 40 for mark in marks))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
