"""A redis-sentinel that watches over one master and promotes its replica."""

from __future__ import annotations

from typing import Any

from tests.support.processes import LOOPBACK
from tests.support.redis.server import RedisServer
from tests.support.redis.users import ADMIN, PASSWORD, USER, sentinel_users

SERVICE = "primary"


class Sentinel(RedisServer):
    """One sentinel, whose word is enough."""

    role = "sentinel"

    def __init__(self, master: RedisServer) -> None:
        super().__init__(
            f"sentinel monitor {SERVICE} {LOOPBACK} {master.port} 1",
            f"sentinel auth-user {SERVICE} {ADMIN}",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} 400",
            f"sentinel failover-timeout {SERVICE} 5000",
            *sentinel_users(),
            sentinel=True,
        )

    @property
    def _address(self) -> dict[str, Any]:
        return {"host": LOOPBACK, "port": self.port, "username": ADMIN, "password": PASSWORD}

    def is_ready(self) -> bool:
        if not self._is_up():
            return False
        known = self.ask("SENTINEL", "REPLICAS", SERVICE)
        return bool(known) and "s_down" not in str(known[0])

    def _is_up(self) -> bool:
        return "Running mode=sentinel" in self.fresh_log and "+monitor" in self.fresh_log

    @property
    def cache(self) -> dict[str, object]:
        """The cache alias of a site that asks it for the master."""
        login = {"username": USER, "password": PASSWORD}
        return {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{SERVICE}/0",
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
                "SENTINELS": [[LOOPBACK, self.port]],
                "SENTINEL_KWARGS": login,
                **{name.upper(): value for name, value in login.items()},
            },
        }
