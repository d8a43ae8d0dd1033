"""The servers that serve a project, and how each is started."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.nginx import Nginx
from tests.support.processes import LOOPBACK, ROOT, Process

ANSWER_SECONDS = 20.0
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Build = Callable[[str, str], list[str]]
"""A command line after `python -m`, of a port and the package that has the applications."""


def _uvicorn(parser: str) -> Build:
    return lambda port, site: [
        *("uvicorn", "--host", LOOPBACK, "--port", port, "--http", parser, "--lifespan", "off", "--no-access-log"),
        f"{site}.asgi:application",
    ]


def _gunicorn(application: str, *options: str) -> Build:
    return lambda port, site: [
        *("gunicorn", "--bind", f"{LOOPBACK}:{port}", "--graceful-timeout", "1", "--timeout", "120", *options),
        f"{site}.{application}:application",
    ]


def _runserver(port: str, site: str) -> list[str]:
    return ["django", "runserver", "--noreload", f"{LOOPBACK}:{port}"]


ASGI: Mapping[str, Build] = {
    "daphne": lambda port, site: ["daphne", "-v", "0", "-b", LOOPBACK, "-p", port, f"{site}.asgi:application"],
    "uvicorn-h11": _uvicorn("h11"),
    "uvicorn-httptools": _uvicorn("httptools"),
    "gunicorn-uvicorn": _gunicorn("asgi", "--worker-class", "uvicorn_worker.UvicornWorker"),
    "granian": lambda port, site: [
        *("granian", "--host", LOOPBACK, "--port", port, "--interface", "asgi", "--no-ws"),
        f"{site}.asgi:application",
    ],
    "runserver": _runserver,
}
WSGI: Mapping[str, Build] = {
    "gunicorn-sync": _gunicorn("wsgi"),
    "gunicorn-gthread": _gunicorn("wsgi", "--worker-class", "gthread", "--threads", "4"),
    "wsgiref": _runserver,
}


class Server(Process):
    """A process, or a master and its worker, that serves a project."""

    role = "server"

    def __init__(
        self, server: str, package: str, python: Path, environment: Mapping[str, str], settings: str
    ) -> None:
        super().__init__(server)
        self.server, self.package, self.python = server, package, python
        self._own_environment = {
            **environment,
            "DJANGO_SETTINGS_MODULE": settings,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")]),
            "SITE_DAPHNE": "1" if server == "runserver" else "",
        }

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self._own_environment}

    def command(self) -> list[str]:
        build = {**ASGI, **WSGI}[self.server]
        return [str(self.python), "-m", *build(str(self.port), self.package)]

    def is_ready(self) -> bool:
        try:
            _opener.open(f"http://{LOOPBACK}:{self.port}/plain", timeout=ANSWER_SECONDS).close()
        except urllib.error.HTTPError as error:
            error.close()  # it answers, whatever it says
        except OSError:
            return False
        return True

    def processes(self) -> Iterator[int]:
        """Yield the ids of the process and of those that it started."""
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(FileNotFoundError):  # the thread has ended
                    waiting += map(int, children.read_text().split())


class SubpathNginx(Nginx):
    """nginx of one server, which hands paths on as they are: FORCE_SCRIPT_NAME says where the project begins."""

    def __init__(self, port: int, prefix: str) -> None:
        super().__init__([port])
        self.prefix = prefix

    def configuration(self) -> str:
        whole = super().configuration()
        assert whole.count("location / {") == 1
        return whole.replace("location / {", f"location {self.prefix}/ {{")
