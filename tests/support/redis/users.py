"""The users of the redis-servers of tests: `mcp` with the documented rights, as which all is served, and `admin`.

The default user is off: who does not log in is refused. A test in which `mcp` lacked a right fails.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from mcp_transport.backends.redis.acl import acl_rule, sentinel_acl_rule

__all__ = ["ADMIN", "PASSWORD", "USER", "RefusalWatch", "login", "sentinel_users", "users", "watched"]

USER, ADMIN, PASSWORD = "mcp", "admin", "a-word-of-tests"
# Redis 7.0 reads an append-only file with the rights of the default user, and loses what scripts wrote without them.
_DEFAULT_OFF = "user default off ~* &* +@all"
_ADMIN = f"user {ADMIN} on >{PASSWORD} ~* &* +@all"


def users(*, cluster: bool = False) -> list[str]:
    """Return the lines of a server's configuration that make both users; a replica logs in as `admin`."""
    replication = [f"masteruser {ADMIN}", f"masterauth {PASSWORD}"]
    return [_DEFAULT_OFF, _ADMIN, _line(acl_rule(cluster=cluster)), *replication]


def sentinel_users() -> list[str]:
    """Return the lines of a sentinel's configuration that make both users."""
    return [_DEFAULT_OFF, _ADMIN, _line(sentinel_acl_rule())]


def _line(rule: str) -> str:
    return f"{rule.replace('ACL SETUSER', 'user')} on >{PASSWORD}"


def login(user: str) -> str:
    """Return what stands before the host in a URL."""
    return f"{user}:{PASSWORD}@"


class RefusalWatch:
    """What a user was refused on one server, which is reached by a TCP port or a Unix socket."""

    def __init__(self, *, port: int = 0, path: str = "", user: str = USER) -> None:
        self._port, self._path, self._user = port, path, user

    def look(self) -> list[str]:
        """Return what was refused since the last look; nothing where the server does not answer."""
        if not self._has_entries():
            return []
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        place: dict[str, Any] = {"unix_socket_path": self._path} if self._path else {"port": self._port}
        login: dict[str, Any] = {
            "username": ADMIN,
            "password": PASSWORD,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": 1,
        }
        with suppress(redis.RedisError), redis.Redis(**place, **login, decode_responses=True) as client:
            entries: Any = client.acl_log()
            client.acl_log_reset()
            return [f"{item['reason']} {item['object']}" for item in entries if item["username"] == self._user]
        return []

    def _has_entries(self) -> bool:
        """Ask on a bare socket: this is done after each test, and making redis-py's client takes 1.7 ms."""
        family = socket.AF_UNIX if self._path else socket.AF_INET
        with suppress(OSError), socket.socket(family) as peer:
            peer.settimeout(1)
            peer.connect(self._path or ("127.0.0.1", self._port))
            peer.sendall(f"AUTH {ADMIN} {PASSWORD}\r\nACL LOG\r\n".encode())
            return peer.recv(4096) != b"+OK\r\n*0\r\n"
        return False


class _Watched:
    """The servers that run, and what was refused on those that were stopped."""

    def __init__(self) -> None:
        self._running: set[RefusalWatch] = set()
        self._refused: list[str] = []

    def add(self, watch: RefusalWatch) -> None:
        """Look at a server that has started."""
        self._running.add(watch)

    def discard(self, watch: RefusalWatch | None) -> None:
        """Look for the last time at a server that is about to stop."""
        if watch is not None and watch in self._running:
            self._refused += watch.look()
            self._running.discard(watch)

    def take(self) -> list[str]:
        """Return what was refused since the last time."""
        found, self._refused = self._refused, []
        return found + [refusal for watch in self._running for refusal in watch.look()]


watched = _Watched()
