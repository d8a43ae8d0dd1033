"""A redis-sentinel that watches over one master and promotes its replica."""

from __future__ import annotations

from tests.support.processes import LOOPBACK
from tests.support.redis import users as redis_users
from tests.support.redis.process import RedisServer

SERVICE = "primary"
CONFIGURATION = """\
sentinel monitor {service} {host} {port} 1
sentinel auth-user {service} {admin}
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} 400
sentinel failover-timeout {service} 5000
"""


class Sentinel(RedisServer):
    """One sentinel, whose word is enough."""

    role = "sentinel"

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self.master = master

    def command(self) -> list[str]:
        configuration = self.folder / "sentinel.conf"
        known = {"admin": redis_users.ADMIN, "password": redis_users.PASSWORD}
        text = CONFIGURATION.format(service=SERVICE, host=LOOPBACK, port=self.master.port, **known)
        configuration.write_text("\n".join([text, *redis_users.sentinel_users(), ""]))
        program, *_ = super().command()
        options = ["--sentinel", "--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.folder)]
        return [program, str(configuration), *options]

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
        login = {"username": redis_users.USER, "password": redis_users.PASSWORD}
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
