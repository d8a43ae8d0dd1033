"""A redis-server of one's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.processes import LOOPBACK, START_SECONDS, TICK_SECONDS, Process, program
from tests.support.redis import users as redis_users

SLOTS = 16_384


class RedisServer(Process):
    """Redis without snapshots: what it held is gone after a restart, unless it writes an append-only file.

    It has the users of `tests.support.redis.users`, unless it has a password for everybody.
    """

    role = "redis"
    has_users: ClassVar[bool] = True

    def __init__(
        self,
        *,
        aof: bool = False,
        replica_of: RedisServer | None = None,
        cluster: bool = False,
        password: str = "",
        options: Sequence[str] = (),
        name: str = "",
        port: int = 0,
        folder: Path | None = None,
    ) -> None:
        super().__init__(name, port, folder)
        self.aof, self.replica_of, self.cluster = aof, replica_of, cluster
        self.password = password
        self.options = [*options]
        """More of redis-server's own, such as `["--maxmemory", "10mb"]`."""
        self._watch: redis_users.RefusalWatch | None = None

    @property
    def is_restricted(self) -> bool:
        """Do those who log in have the rights of one of two users?"""
        return self.has_users and not self.password

    @property
    def url(self) -> str:
        """What REDIS_URL is to be."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return what REDIS_URL is to be where the server is reached by another port."""
        own = redis_users.login(redis_users.USER) if self.is_restricted else ""
        return f"redis://{f':{self.password}@' if self.password else own}{LOOPBACK}:{port}/0"

    def command(self) -> list[str]:
        line = [program("redis-server"), "--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.folder)]
        line += ["--save", "", "--appendonly", "yes" if self.aof else "no", "--repl-diskless-sync-delay", "0"]
        if self.password:
            line += ["--requirepass", self.password, "--masterauth", self.password]
        if self.is_restricted:
            line += [word for user in redis_users.users(cluster=self.cluster) for word in f"--{user}".split(" ")]
        if self.replica_of is not None:
            line += ["--replicaof", LOOPBACK, str(self.replica_of.port)]
        if self.cluster:
            line += ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
        return line + self.options

    def is_ready(self) -> bool:
        if "Ready to accept connections" not in self.fresh_log:  # an answer might come from somebody else's Redis
            return False
        return self.replica_of is None or self.ask("INFO", "replication")["master_link_status"] == "up"

    def await_ready(self) -> None:
        super().await_ready()
        if self.is_restricted:
            self._watch = redis_users.RefusalWatch(port=self.port)
            redis_users.watched.add(self._watch)

    def terminate(self) -> None:
        redis_users.watched.discard(self._watch)
        super().terminate()

    def connect(self, **options: Any) -> redis.Redis:
        """Return a client that blocks and may do all; close it, or use it in a `with` block."""
        return redis.Redis(**{**self._address, "decode_responses": True, "socket_timeout": 5, **options})

    def connect_async(self) -> redis.asyncio.Redis:
        """Return such a client for a loop, which tries nothing again; use it in an `async with` block."""
        return redis.asyncio.Redis(**self._address, decode_responses=True, retry=Retry(NoBackoff(), 0))

    @property
    def _address(self) -> dict[str, Any]:
        """Where a test reaches it, with all rights."""
        place = {"host": LOOPBACK, "port": self.port}
        if self.is_restricted:
            return {**place, "username": redis_users.ADMIN, "password": redis_users.PASSWORD}
        return {**place, "password": self.password or None}

    def ask(self, *command: str | int) -> Any:
        """Send one command on a connection of its own and return the answer."""
        with self.connect() as client:
            return client.execute_command(*command)


def form_cluster(servers: Sequence[RedisServer]) -> None:
    """Make one cluster of running servers that were made with `cluster=True`, and wait until all agree."""
    share = SLOTS // len(servers) + 1
    for number, server in enumerate(servers):
        server.ask("CLUSTER ADDSLOTSRANGE", number * share, min((number + 1) * share, SLOTS) - 1)
        server.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
    for server in servers[1:]:
        server.ask("CLUSTER MEET", LOOPBACK, servers[0].port)
    deadline = time.monotonic() + START_SECONDS
    for server in servers:
        while not _knows_all(server, len(servers)):
            assert time.monotonic() < deadline, f"no cluster came of it:\n{server.log}"
            time.sleep(TICK_SECONDS)


def _knows_all(server: RedisServer, count: int) -> bool:
    info = server.ask("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == count
