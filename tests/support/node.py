"""A node: one server process of a Django project."""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import LOOPBACK, Process

FIXTURE = "tests.support.conformance_site"
SERVERS = ("daphne", "uvicorn")
BACKLOG = 2048
ANSWER_SECONDS = 20.0

# Without the proxy that the environment may name.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Node(Process):
    """One process of daphne or uvicorn."""

    role = "node"

    asked_first = "/healthz"

    def __init__(
        self,
        server: str = "daphne",
        *,
        settings: str = f"{FIXTURE}.settings",
        application: str = f"{FIXTURE}.asgi:mounted",
        environment: Mapping[str, str] | None = None,
        name: str = "",
        port: int = 0,
        folder: Path | None = None,
    ) -> None:
        super().__init__(name, port, folder)
        assert server in SERVERS, server
        self.server, self.settings, self.application = server, settings, application
        self.variables = dict(environment or {})
        """What the environment has besides this process' own: REDIS_URL, DJANGO_ALLOWED_HOSTS ..."""
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """The address of its MCP endpoint."""
        return f"http://{LOOPBACK}:{self.port}/mcp"

    def environment(self) -> dict[str, str]:
        own = {"DJANGO_SETTINGS_MODULE": self.settings, "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **own, **self.variables}

    @contextmanager
    def inherited(self) -> Iterator[Sequence[int]]:
        """Hand daphne a socket that listens already: no port is guessed, and the first request waits its turn.

        uvicorn can inherit one, too, but takes it for a Unix socket and leaves Nagle's algorithm on, which delays
        small events by 40 ms.
        """
        if self.server != "daphne":
            yield ()
            return
        with socket.create_server((LOOPBACK, self.port), backlog=BACKLOG) as self._listener:
            yield (self._listener.fileno(),)
        self._listener = None

    def command(self) -> list[str]:
        if self._listener is not None:
            options = ["--fd", str(self._listener.fileno()), "--verbosity", "1"]
        else:
            options = ["--host", LOOPBACK, "--port", str(self.port), "--no-access-log"]
        return [sys.executable, "-m", self.server, *options, self.application]

    def is_ready(self) -> bool:
        if self.server == "uvicorn" and "Uvicorn running on" not in self.fresh_log:  # the port may be somebody else's
            return False
        try:
            _opener.open(f"http://{LOOPBACK}:{self.port}{self.asked_first}", timeout=ANSWER_SECONDS).close()
        except urllib.error.HTTPError as error:
            with error:  # it answers, whatever else it says
                return b"warming up" not in error.read()
        except OSError:
            return False
        return True


class WarmNode(Node):
    """A node that has started when it is ready, for load balancers that ask."""

    asked_first = "/readyz"
