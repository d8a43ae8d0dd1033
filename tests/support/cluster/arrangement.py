"""A store, some nodes, and nginx in front of them, as one thing to start and stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.cluster.store import choose_store, redis_of
from tests.support.nginx import Nginx
from tests.support.node import FIXTURE, Node
from tests.support.processes import Process, start_all, stop_all
from tests.support.redis.server import RedisServer


class Arrangement:
    """The nodes share the store ("redis" or "dynamodb") and are taken in turn by nginx; nothing is sticky."""

    def __init__(
        self,
        servers: Sequence[str] = ("daphne", "daphne", "daphne"),
        *,
        settings: str = f"{FIXTURE}.settings",
        application: str = f"{FIXTURE}.asgi:mounted",
        environment: Mapping[str, str] | None = None,
        store: str = "redis",
        redis: RedisServer | None = None,
        port: int = 0,
        folder: Path | None = None,
    ) -> None:
        """Prepare the processes; with a folder given, all their logs lie in it."""
        self.store = choose_store(store, redis=redis, folder=folder)
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
        return [self.store.server, *self.nodes, self.nginx]

    @property
    def redis(self) -> RedisServer:
        """The Redis, if it is one."""
        return redis_of(self.store)

    @property
    def url(self) -> str:
        """The address of the MCP endpoint behind nginx."""
        return self.nginx.url

    def start(self) -> Self:
        """Start all and wait until they answer."""
        try:
            self.store.start()
            for node in self.nodes:
                node.variables = {**self.store.variables, **node.variables}
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
        self.store.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
