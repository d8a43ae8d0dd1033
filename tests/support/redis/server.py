"""A redis-server for tests: alone, as a replica, as a node of a cluster, or as a sentinel."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.processes import LOOPBACK, START_SECONDS, TICK_SECONDS, Process, program
from tests.support.redis.users import ADMIN, PASSWORD, USER, RefusalWatch, login, users, watched

SLOTS = 16_384
READY = (b"+PONG", b"-NOAUTH")
"""What a server answers to PING that can be used."""


class RedisServer(Process):
    """Redis without snapshots: a restart empties it, unless it writes an append-only file.

    Each of `lines` is a line of its configuration (`"maxmemory 10mb"`). The server has the users of
    `tests.support.redis.users`, unless its configuration has a password or users of its own.
    """

    role: ClassVar[str] = "redis"

    def __init__(
        self,
        *lines: str,
        aof: bool = False,
        replica_of: RedisServer | None = None,
        cluster: bool = False,
        sentinel: bool = False,
        password: str = "",
        name: str = "",
        port: int = 0,
        folder: Path | None = None,
    ) -> None:
        super().__init__(name, port, folder)
        secret = [f"requirepass {password}", f"masterauth {password}"] if password else []
        own = [*lines, *secret, *(["cluster-enabled yes"] if cluster else [])]
        self.password = next((line.split(" ")[1] for line in own if line.startswith("requirepass ")), "")
        self.is_restricted = not sentinel and not any(line.startswith(("requirepass ", "user ")) for line in own)
        is_cluster = "cluster-enabled yes" in own
        self.lines = [*own, *(users(cluster=is_cluster) if self.is_restricted else ())]
        self._login = f":{password}@" if password else ""
        self.aof, self.replica_of, self.sentinel = aof, replica_of, sentinel
        self.ready: tuple[bytes, ...] = READY
        self._watch: RefusalWatch | None = None

    # -- addresses

    @property
    def socket(self) -> str:
        """The Unix socket, which answers also where the port expects TLS."""
        # Not in the folder: the path of a socket has 107 bytes at most.
        return str(Path(tempfile.gettempdir()) / f"{self.name}-{self.port}.sock")

    @property
    def url(self) -> str:
        """The address for what is tested, with the documented rights."""
        return self.url_of(USER)

    @property
    def admin_url(self) -> str:
        """The address for a test that needs all rights."""
        return self.url_of(ADMIN)

    def url_of(self, user: str, port: int = 0) -> str:
        """Return the address for one of the users, which may be reached by another port."""
        own = login(user) if self.is_restricted else self._login
        return f"redis://{own}{LOOPBACK}:{port or self.port}"

    # -- the process

    def command(self) -> list[str]:
        configuration = self.folder / f"{self.name}.conf"
        # Sentinel and Cluster rewrite theirs, and a restart goes on with it; until it runs the port may change.
        if not (configuration.exists() and self._keeps_port):
            configuration.write_text("\n".join(self._configuration()) + "\n", encoding="utf-8")
        return [program("redis-server"), str(configuration), *(["--sentinel"] if self.sentinel else [])]

    def _configuration(self) -> list[str]:
        has_port = any(line.startswith("port ") for line in self.lines)
        replica = [f"replicaof {LOOPBACK} {self.replica_of.port}"] if self.replica_of is not None else []
        return [
            *([] if has_port else [f"port {self.port}"]),
            f"bind {LOOPBACK}",
            f"unixsocket {self.socket}",
            f"dir {self.folder}",
            'save ""',
            "shutdown-timeout 0",
            *([] if self.sentinel else [f"appendonly {'yes' if self.aof else 'no'}", "repl-diskless-sync-delay 0"]),
            *replica,
            *self.lines,
        ]

    def is_ready(self) -> bool:
        if not self.ping().startswith(self.ready):
            return False
        return self.replica_of is None or self.ask("INFO", "replication")["master_link_status"] == "up"

    def start(self, *, ready: tuple[bytes, ...] = READY) -> Self:
        """Start and wait until it answers PING with one of `ready`."""
        self.ready = ready
        return super().start()

    def await_ready(self) -> None:
        super().await_ready()
        if self.is_restricted:
            self._watch = RefusalWatch(path=self.socket)
            watched.add(self._watch)

    def terminate(self) -> None:
        watched.discard(self._watch)
        super().terminate()

    def kill(self) -> None:
        watched.discard(self._watch)
        super().kill()

    def stop(self) -> None:
        super().stop()
        Path(self.socket).unlink(missing_ok=True)

    # -- questions of a test

    def ping(self) -> bytes:
        """Return the first bytes of the answer to PING, nothing while there is none."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(1)
            peer.connect(self.socket)
            peer.sendall(b"PING\r\n")
            return peer.recv(64)
        return b""

    def connect(self, **options: Any) -> redis.Redis:
        """Return a client that blocks and has all rights; close it, or use it in a `with` block."""
        return redis.Redis(**{**self._address, "decode_responses": True, "socket_timeout": 5, **options})

    def connect_async(self) -> redis.asyncio.Redis:
        """Return such a client for a loop, which tries nothing again; use it in an `async with` block."""
        return redis.asyncio.Redis(**self._address, decode_responses=True, retry=Retry(NoBackoff(), 0))

    @property
    def _address(self) -> dict[str, Any]:
        place = {"host": LOOPBACK, "port": self.port}
        if self.is_restricted:
            return {**place, "username": ADMIN, "password": PASSWORD}
        return {**place, "password": self.password or None}

    def ask(self, *command: str | int) -> Any:
        """Send one command on a connection of its own and return the answer."""
        with self.connect() as client:
            return client.execute_command(*command)

    def cli(self, *words: str, lines: str = "") -> str:
        """Return what redis-cli prints: of one command, or of `lines` as they are typed."""
        user = ["--user", ADMIN] if self.is_restricted else []
        secret = {"REDISCLI_AUTH": PASSWORD if self.is_restricted else self.password}
        command = [program("redis-cli"), "-s", self.socket, *user, *words]
        done = subprocess.run(  # noqa: S603
            command, env={**os.environ, **secret}, input=lines, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def wait_for(self, line: str, *command: str) -> None:
        """Return when the answer to a command has this line."""
        deadline = time.monotonic() + START_SECONDS
        while line not in self.cli(*command).splitlines():
            assert time.monotonic() < deadline, f"no {line}: {self.log}"
            time.sleep(TICK_SECONDS)


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
