"""Redis, some nodes, and nginx in front of them, as one thing to start and stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.nginx import Nginx
from tests.support.node import FIXTURE, Node
from tests.support.processes import Process, start_all, stop_all
from tests.support.redis.server import RedisServer


class Arrangement:
    """The nodes share the Redis and are taken in turn by nginx; nothing is sticky."""

    def __init__(
        self,
        servers: Sequence[str] = ("daphne", "daphne", "daphne"),
        *,
        settings: str = f"{FIXTURE}.settings",
        application: str = f"{FIXTURE}.asgi:mounted",
        environment: Mapping[str, str] | None = None,
        redis: RedisServer | None = None,
        port: int = 0,
        folder: Path | None = None,
    ) -> None:
        """Prepare the processes; with a folder given, all their logs lie in it."""
        self.redis = redis or RedisServer(folder=folder)
        self.nodes = [
            Node(
                server,
                settings=settings,
                application=application,
                environment=environment,
                name=f"node-{number}",
                folder=folder,
            )
            for number, server in enumerate(servers, start=1)
        ]
        self.nginx = Nginx([], port=port, folder=folder)

    @property
    def processes(self) -> list[Process]:
        """All of them, in the order they are needed."""
        return [self.redis, *self.nodes, self.nginx]

    @property
    def url(self) -> str:
        """The address of the MCP endpoint behind nginx."""
        return self.nginx.url

    def start(self) -> Self:
        """Start all and wait until they answer."""
        try:
            if not self.redis.alive:
                self.redis.start()
            for node in self.nodes:
                node.variables.setdefault("REDIS_URL", self.redis.url)
            start_all(self.nodes)
            self.nginx.ports = [node.port for node in self.nodes]
            self.nginx.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all: nobody sends any more, then nobody answers, then nothing is kept."""
        self.nginx.stop()
        stop_all(self.nodes)
        self.redis.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
