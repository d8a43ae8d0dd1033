"""The attacked servers, in a folder of their own: daphne or uvicorn, with sessions in memory or in a Redis."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.support.node import Node
from tests.support.processes import start_all, stop_all
from tests.support.redis.server import RedisServer

SERVERS = ("daphne", "uvicorn-h11", "uvicorn-httptools")
BACKENDS = ("memory", "redis")
LEASE_SECONDS = 2.0
MIB = 2**20


class AttackedNode(Node):
    """A process that serves the site."""

    def __init__(self, server: str, name: str, environment: Mapping[str, str]) -> None:
        program, _, self._parser = server.partition("-")
        super().__init__(
            program,
            settings="tests.attack.site.settings",
            application="tests.attack.site.asgi:application",
            environment=environment,
            name=name,
        )

    def command(self) -> list[str]:
        command = super().command()
        return [*command[:-1], "--http", self._parser, command[-1]] if self._parser else command

    def memory(self) -> int:
        """Return the bytes that it has in memory; nothing once it has ended."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Return the most bytes that it had in memory since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin a new peak."""
        with suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
        return 0

    def log_size(self) -> int:
        """Return the bytes that it has written to its log."""
        return (self.folder / f"{self.name}.log").stat().st_size

    def log_since(self, start: int) -> str:
        """Return what it has written since its log had that size; no more than one MiB."""
        with (self.folder / f"{self.name}.log").open("rb") as log:
            log.seek(start)
            return log.read(MIB).decode(errors="replace")


class Stage:
    """Nodes of one kind; with Redis there are two, unless an attack wants more."""

    def __init__(
        self, server: str, backend: str, *, nodes: int = 0, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.server, self.backend = server, backend
        self.redis = RedisServer() if backend == "redis" else None
        self._temporary = tempfile.TemporaryDirectory(prefix="attack-")
        self.folder = Path(self._temporary.name)
        settings = {"LEASE_SECONDS": LEASE_SECONDS, "DRAIN_SECONDS": 1.0, **(settings or {})}
        log_level = {"SITE_LOG_LEVEL": str(settings.pop("log"))} if "log" in settings else {}
        environment = {"SITE_MCP": json.dumps(settings), "SITE_FOLDER": str(self.folder), **log_level}
        count = nodes or (2 if backend == "redis" else 1)
        self.nodes = [AttackedNode(server, f"{server}-{number}", environment) for number in range(count)]

    @property
    def name(self) -> str:
        return f"{self.server} {self.backend}"

    def __enter__(self) -> Self:
        try:
            if self.redis is not None:
                self.redis.start()
                for node in self.nodes:
                    node.variables["REDIS_URL"] = self.redis.url
            start_all(self.nodes)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def renew(self) -> None:
        """Start the nodes anew: what an attack left behind is not the next one's."""
        for node in self.nodes:
            node.kill() if node.alive else None
        if self.redis is not None:
            self.redis.ask("FLUSHALL")
        start_all(self.nodes)

    def stop(self) -> None:
        """Stop everything; nothing of it is needed any more, so nobody is asked to end in good order."""
        for node in self.nodes:
            if node.alive:
                node.kill()
        try:
            stop_all(self.nodes)
        finally:
            if self.redis is not None:
                self.redis.stop()
            self._temporary.cleanup()
