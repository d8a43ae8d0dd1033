"""A PostgreSQL of one's own, of the system's packages."""

# ruff: noqa: S603 (the commands are built here)
from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.support.processes import LOOPBACK, STOP_SECONDS, MissingProgramError, Process

SUPERUSER = "postgres"
MAX_CONNECTIONS = 300
_INSTALLED = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")


class Postgres(Process):
    """PostgreSQL that trusts whoever comes from this machine, and forgets what it held when it is stopped."""

    role = "postgres"

    @property
    def data(self) -> Path:
        """Where the databases are."""
        return self.folder / "data"

    def spawn(self) -> None:
        """Start without waiting; the first time, make what it serves."""
        if not self.data.exists():
            self._initialize()
        super().spawn()

    def lift_limits(self) -> None:
        """Leave its limits alone: they are those of another user's process."""

    def _initialize(self) -> None:
        if account := _account():
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        options = ["--auth", "trust", "--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        command = [*_unprivileged(), str(_program("initdb")), "--pgdata", str(self.data), *options]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def command(self) -> list[str]:
        settings = {
            "fsync": "off",
            "full_page_writes": "off",
            "listen_addresses": LOOPBACK,
            "max_connections": MAX_CONNECTIONS,
            "port": self.port,
            "synchronous_commit": "off",
            "unix_socket_directories": "",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*_unprivileged(), str(_program("postgres")), "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        if "ready to accept connections" not in self.fresh_log:  # an answer might come from somebody else's
            return False
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def terminate(self) -> None:
        """Ask it to end without waiting for its clients: PostgreSQL's fast shutdown."""
        self.process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """End it for good, without the checkpoint that takes seconds: PostgreSQL's immediate shutdown."""
        if self.alive:
            self.process.send_signal(signal.SIGQUIT)
            self.wait(STOP_SECONDS)
        super().stop()

    # -- what it is asked

    def ask(self, query: str | sql.Composed, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Carry out one statement on a connection of its own; return its rows."""
        with psycopg.connect(
            host=LOOPBACK, port=self.port, user=SUPERUSER, dbname="postgres", autocommit=True, connect_timeout=5
        ) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def create(self, database: str, template: str = "template1") -> None:
        """Make a database, empty or as a copy of another one."""
        names = map(sql.Identifier, (database, template))
        self.ask(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))

    def backends(self, database: str) -> int:
        """Count the connections to a database."""
        return int(self.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [database])[0][0])

    def cut(self, database: str) -> int:
        """End all connections to a database; return how many there were."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        return len(self.ask(query, [database]))


def _program(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs, of the newest version that is installed."""
    versions = sorted(_INSTALLED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1]
    if found := shutil.which(name):
        return Path(found)
    raise MissingProgramError(f"{name} is not installed; on Debian and Ubuntu: apt-get install postgresql")


def look_for_programs() -> None:
    """Raises: MissingProgramError: PostgreSQL is not installed."""
    _program("initdb")
    _program("postgres")


def _account() -> pwd.struct_passwd | None:
    """Return whose account PostgreSQL, which root may not run, gets; None where nobody is root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in _UNPRIVILEGED if name in known)


def _unprivileged() -> list[str]:
    """Return the command that gives up root's rights."""
    account = _account()
    if account is None:
        return []
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]
