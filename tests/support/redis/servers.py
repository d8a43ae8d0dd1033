"""Start a redis-server for a test: a directory and a port of its own, gone when the test ends."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.redis.users import ADMIN, PASSWORD, USER, RefusalWatch, login, users, watched

START_SECONDS, STOP_SECONDS = 10.0, 5.0
READY = (b"+PONG", b"-NOAUTH")


def require_redis_server() -> None:
    """Fail where a missing redis-server is a fault (in CI); skip the calling test elsewhere."""
    if shutil.which("redis-server") and shutil.which("redis-cli"):
        return
    say = pytest.fail if os.environ.get("CI", "").lower() in ("1", "true") else pytest.skip
    say("redis-server and redis-cli are not installed")


def free_port() -> int:
    """Return a free port below the range the kernel gives to outgoing connections."""
    for _ in range(200):
        port = random.randint(20000, 32000)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port between 20000 and 32000")


class RedisServer:
    """One redis-server process; each argument is a line of its configuration (`"appendonly yes"`).

    It has the users of `tests.support.redis.users` unless the configuration has a password or users of its own.
    """

    def __init__(self, *lines: str, sentinel: bool = False) -> None:
        require_redis_server()
        self.is_restricted = not sentinel and not any(line.startswith(("requirepass ", "user ")) for line in lines)
        own = users(cluster="cluster-enabled yes" in lines) if self.is_restricted else ()
        self.lines, self.flags = (*lines, *own), ("--sentinel",) if sentinel else ()
        self.directory = Path(tempfile.mkdtemp(prefix="mcp-redis-"))
        self.socket = str(self.directory / "socket")  # answers whatever the TCP port asks for (TLS)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._watch = RefusalWatch(path=self.socket)

    @property
    def url(self) -> str:
        """The address for what is tested: where nothing else is configured, with the documented rights."""
        return self.url_of(USER)

    @property
    def admin_url(self) -> str:
        """The address for a test that asks for more."""
        return self.url_of(ADMIN)

    def url_of(self, user: str) -> str:
        """Return the address for one of the users whose password is that of the tests."""
        return f"redis://{login(user) if self.is_restricted else ''}127.0.0.1:{self.port}"

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *, ready: tuple[bytes, ...] = READY) -> None:
        """Start the server on its port and return when it answers PING with one of `ready`."""
        own = [f"port {self.port}"] if not any(line.startswith("port ") for line in self.lines) else []
        own += [
            "bind 127.0.0.1",
            f"unixsocket {self.socket}",
            f"dir {self.directory}",
            'save ""',
            "shutdown-timeout 0",
        ]
        configuration = self.directory / "redis.conf"
        if not configuration.exists():  # Sentinel and Cluster rewrite theirs; a restart goes on with it
            configuration.write_text("\n".join([*own, *self.lines]) + "\n", encoding="utf-8")
        with (self.directory / "log").open("ab") as log:
            command = ["redis-server", str(configuration), *self.flags]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
        deadline = time.monotonic() + START_SECONDS
        while not self.ping().startswith(ready):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"redis-server did not start: {self.log()}")
            time.sleep(0.005)
        if self.is_restricted:
            watched.add(self._watch)

    def stop(self, *, kill: bool = False) -> None:
        """End the process (without a chance to save, if `kill`) and wait until it is gone."""
        process, self.process = self.process, None
        if process is None:
            return
        watched.discard(self._watch)
        process.kill() if kill else process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
        Path(self.socket).unlink(missing_ok=True)

    def ping(self) -> bytes:
        """Return the first bytes of the answer to PING, nothing while there is none."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(1)
            peer.connect(self.socket)
            peer.sendall(b"PING\r\n")
            return peer.recv(64)
        return b""

    def cli(self, *words: str, lines: str = "") -> str:
        """Return what redis-cli prints, asked over the Unix socket: one command, or `lines` as they are typed."""
        password = next((line.split(" ")[1] for line in self.lines if line.startswith("requirepass ")), "")
        user = ["--user", ADMIN] if self.is_restricted else []
        secret = {"REDISCLI_AUTH": PASSWORD if self.is_restricted else password}
        command = ["redis-cli", "-s", self.socket, *user, *words]
        done = subprocess.run(  # noqa: S603
            command, env={**os.environ, **secret}, input=lines, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def wait_for(self, line: str, *command: str) -> None:
        """Return when the answer to a command has this line."""
        deadline = time.monotonic() + START_SECONDS
        while line not in self.cli(*command).splitlines():
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {line}: {self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
