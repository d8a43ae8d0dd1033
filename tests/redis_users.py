"""The users of the redis-servers of tests: `mcp` with the documented rights, as which all is served, and `admin`.

The default user is off: who does not log in is refused. A test in which `mcp` lacked a right fails.
"""

from __future__ import annotations

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
    """What a user was refused on one server; `how` are redis-py's options that reach it."""

    def __init__(self, user: str = USER, **how: Any) -> None:
        self._user = user
        self._how = {"username": ADMIN, "password": PASSWORD, "decode_responses": True, "socket_timeout": 1, **how}

    def look(self) -> list[str]:
        """Return what was refused since the last look; nothing where the server does not answer."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with suppress(redis.RedisError), redis.Redis(**self._how, retry=Retry(NoBackoff(), 0)) as client:
            entries: Any = client.acl_log()
            if entries:
                client.acl_log_reset()
            return [f"{item['reason']} {item['object']}" for item in entries if item["username"] == self._user]
        return []


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
