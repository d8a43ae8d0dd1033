"""Build a client for the Redis of a Django cache alias, so that Redis is configured in one place.

It reads the addresses and options of django-redis and of Django's own cache backend: one server, over TCP, TLS or a
Unix socket, behind Sentinel, or a Cluster. It ignores options of the cache alone (serializers, compressors, parsers,
pool classes, retries, IGNORE_EXCEPTIONS): this package stores bytes, and handles errors itself.
"""

from __future__ import annotations

import contextlib
import inspect
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from mcp_transport.backends.redis import cache_settings
from mcp_transport.backends.redis.cache_settings import describe, is_redis, key_prefix, misconfigured

__all__ = [
    "STORE_ERRORS",
    "connect",
    "describe",
    "is_cluster",
    "is_redis",
    "is_setup_error",
    "is_store_error",
    "key_prefix",
    "recover",
]

# The store did not answer, or refuses the command at the moment; a later attempt may succeed.
STORE_ERRORS: Final[tuple[type[Exception], ...]] = (
    exceptions.ConnectionError,  # also: loading, pool exhausted, Sentinel knows no master, wrong password
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterError,  # also: cluster down, master down, too many redirections
    exceptions.TryAgainError,
    exceptions.RedisClusterException,  # no node reachable, slots not covered
    exceptions.InvalidResponse,
    OSError,  # also: TimeoutError, which is asyncio's
)

# Only an operator can fix these. Some are subclasses of STORE_ERRORS in redis-py, so check these first.
_SETUP_ERRORS: Final[tuple[type[Exception], ...]] = (
    exceptions.AuthenticationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
    exceptions.MovedError,  # a Cluster that is not configured as one
)

# The text of NOPERM inside a script.
_FORBIDDEN: Final = "The user executing the script can't run this command"

# Refusals without a class in redis-py; before 6.0, some have a class only in the Cluster's client.
_REFUSALS: Final = ("BUSY ", "CLUSTERDOWN ", "MASTERDOWN ", "MISCONF ", "NOREPLICAS ", "TRYAGAIN ", "UNBLOCKED ")

_SOCKET_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 2.0

# Callers of a pool queue for a connection (as long as connecting may take); a Cluster's node refuses at once, so that
# it needs more of them.
_POOL_CONNECTIONS: Final = 100
_NODE_CONNECTIONS: Final = 1000

_SUPPORTED_OPTIONS: Final = (
    "host",
    "port",
    "path",
    "username",
    "password",
    "credential_provider",
    "db",
    "socket_keepalive",
    "socket_keepalive_options",
)
_CLUSTER_OPTIONS: Final = ("address_remap", "dynamic_startup_nodes", "require_full_coverage")


def is_store_error(error: BaseException) -> bool:
    """Return whether the store failed, rather than the command: the STORE_ERRORS, and some replies."""
    return isinstance(error, STORE_ERRORS) or (
        isinstance(error, exceptions.ResponseError) and str(error).startswith(_REFUSALS)
    )


def is_setup_error(error: BaseException) -> bool:
    """Return whether only an operator can fix the error."""
    return isinstance(error, _SETUP_ERRORS) or str(error).startswith(_FORBIDDEN)


def is_cluster(cache: Mapping[str, Any], setting: bool | None = None) -> bool:
    """Return whether the alias is a Redis Cluster: the setting's value or, with None, by the alias' classes."""
    if setting is not None:
        return setting
    return cache_settings.sentinels(cache) is None and cache_settings.names_cluster(cache)


def connect(
    cache: Mapping[str, Any], *, cluster: bool | None = None, blocking: float | None = None
) -> Redis | RedisCluster:
    """Return a client that connects with its first command. Raises: ImproperlyConfigured.

    `cluster` tells whether the alias is a Redis Cluster, if its classes cannot; `blocking` is the number of seconds
    that a command may wait on the server, in addition to the socket's timeout. No command is sent twice. When all
    `max_connections` (the alias', or 100) are in use, a command waits for one for the connect timeout, and then fails
    like a connection; for a node of a Cluster (the alias', or 1000) it fails at once.
    """
    if cache_settings.is_sharded(cache):
        raise misconfigured(cache, "ShardClient spreads keys over servers: name an alias with one server")
    if is_cluster(cache, cluster):
        return _connect_cluster(cache, blocking or 0.0)
    if cache_settings.sentinels(cache) is not None:
        return _connect_sentinel(cache, blocking or 0.0)
    options = _ConnectionOptions.of(_parsed(cache)[0], blocking or 0.0)
    kind = (
        UnixDomainSocketConnection
        if "path" in options.plain
        else SSLConnection
        if options.tls is not None
        else Connection
    )
    pool = BlockingConnectionPool(connection_class=kind, **options.for_pool(cache))
    return Redis.from_pool(pool)


async def recover(client: Redis | RedisCluster) -> None:
    """Make a Cluster's client discover its nodes again after a store error; other clients reconnect by themselves.

    redis-py's pipelines notice neither that a node was replaced, nor that idle connections are dead.
    """
    if not isinstance(client, RedisCluster):
        return
    with contextlib.suppress(*STORE_ERRORS):
        await client.nodes_manager.initialize()
        for node in client.get_nodes():
            if hasattr(node, "disconnect_free_connections"):  # redis-py 7
                await node.disconnect_free_connections()


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """A pool of connections to the master that Sentinel names; callers queue for them."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # the pool is being closed, and owns the connections to the sentinels
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


@dataclass(frozen=True, slots=True)
class _ConnectionOptions:
    """The connection options of an alias, by redis.asyncio's names."""

    plain: dict[str, Any]
    tls: dict[str, Any] | None
    max_connections: int | None

    @classmethod
    def of(cls, options: Mapping[str, Any], blocking: float = 0.0) -> _ConnectionOptions:
        """Select the supported options; timeouts are always finite, and no command is sent twice."""
        plain = {name: options[name] for name in _SUPPORTED_OPTIONS if options.get(name) is not None}
        plain |= {
            "socket_timeout": _seconds(options.get("socket_timeout"), _SOCKET_SECONDS) + blocking,
            "socket_connect_timeout": _seconds(options.get("socket_connect_timeout"), _CONNECT_SECONDS),
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": False,
            "health_check_interval": 0,
            "client_name": "mcp",
            "protocol": 2,  # supported by every version of redis-py, with the same replies
        }
        if "path" in plain:
            plain = {name: value for name, value in plain.items() if not name.startswith("socket_keepalive")}
        kind = options.get("connection_class")
        is_tls = isinstance(kind, type) and issubclass(kind, (SSLConnection, redis.connection.SSLConnection))
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        if tls.get("ssl_cert_reqs", "required") in (None, "none", ssl.CERT_NONE):
            tls["ssl_check_hostname"] = False  # as redis-py itself does, except for 6.0
        return cls(plain, tls if is_tls or options.get("ssl") is True else None, options.get("max_connections"))

    def for_pool(self, cache: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a pool of connections."""
        queue = {
            "max_connections": self.max_connections or _POOL_CONNECTIONS,
            "timeout": self.plain["socket_connect_timeout"],
        }
        return {**self.plain, **self.checked_tls(cache, SSLConnection), **queue}

    def checked_tls(self, cache: Mapping[str, Any], of: Callable[..., object]) -> dict[str, Any]:
        """Return the TLS options; reject those that redis.asyncio does not support, rather than ignore them."""
        supported = inspect.signature(of).parameters
        unknown = sorted(name for name, value in (self.tls or {}).items() if name not in supported and value)
        if unknown:
            raise misconfigured(cache, f"redis.asyncio {redis.__version__} does not support {', '.join(unknown)}")
        return {name: value for name, value in (self.tls or {}).items() if name in supported}


def _connect_sentinel(cache: Mapping[str, Any], blocking: float) -> Redis:
    masters = [server for server in _parsed(cache) if not _is_false(server.get("is_master"))]
    if not masters:
        raise misconfigured(cache, "it reads from replicas (is_master=0), but sessions are written")
    options = _ConnectionOptions.of(masters[0], blocking)
    service = cache_settings.options(cache).get("service_name") or masters[0].get("host")
    if not service:
        raise misconfigured(cache, "LOCATION names no service: write redis://<service>/<db>")
    manager = cache_settings.options(cache).get("sentinel_manager")
    kwargs = cache_settings.options(cache).get("SENTINEL_KWARGS") or getattr(manager, "sentinel_kwargs", None) or {}
    # Sentinels answer from memory: the time to connect is enough.
    query = _ConnectionOptions.of({"socket_timeout": _CONNECT_SECONDS, **kwargs})
    kwargs = query.plain | ({"ssl": True, **query.checked_tls(cache, Redis)} if query.tls is not None else {})
    sentinels = Sentinel(list(cache_settings.sentinels(cache) or ()), sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call]
    kind = SentinelManagedConnection if options.tls is None else SentinelManagedSSLConnection
    pooled = options.for_pool(cache)
    return Redis.from_pool(_MasterPool(service, sentinels, connection_class=kind, **pooled))  # type: ignore[no-untyped-call]


def _connect_cluster(cache: Mapping[str, Any], blocking: float) -> RedisCluster:
    if int(redis.__version__.partition(".")[0]) < 6:
        # Pipelines of earlier versions do not work without their retries, which would run scripts twice.
        raise misconfigured(cache, f"a Cluster needs redis-py 6 or newer, this is {redis.__version__}")
    servers = _parsed(cache)
    options = _ConnectionOptions.of(servers[0], blocking)
    if "path" in options.plain:
        raise misconfigured(cache, "a Cluster has no Unix socket: write redis://<host>:<port>")
    if int(options.plain.get("db", 0)) != 0:
        raise misconfigured(cache, "a Cluster has no database but 0")
    nodes = cache_settings.startup_nodes(cache)
    nodes = nodes or [(server.get("host", "localhost"), server.get("port", 6379)) for server in servers]
    plain = {name: value for name, value in options.plain.items() if name not in ("host", "port", "db")}
    tls = {"ssl": True, **options.checked_tls(cache, RedisCluster)} if options.tls is not None else {}
    own = {name: servers[0][name] for name in _CLUSTER_OPTIONS if name in servers[0]}
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in nodes],
        max_connections=options.max_connections or _NODE_CONNECTIONS,
        **(plain | tls | own),
    )


def _parsed(cache: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the options of each server of the alias; those in an address take precedence, as in redis-py."""
    options = cache_settings.options(cache)
    if cache_settings.is_django_redis(cache):
        names = ("USERNAME", "PASSWORD", "SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")
        common = {name.lower(): options[name] for name in names if options.get(name)}
        if cache_settings.names_cluster(cache):  # for one server, redis-py does not read what django-redis passes
            common |= options.get("REDIS_CLIENT_KWARGS") or {}
        common |= options.get("CONNECTION_POOL_KWARGS") or {}
    else:
        common = dict(options)
    servers = []
    for url in cache_settings.locations(cache):
        try:
            servers.append({**common, **parse_url(url)})
        except ValueError:  # its text may contain a part of a password
            message = "LOCATION must be redis://, rediss:// or unix:// and an address, special characters quoted"
            raise misconfigured(cache, message) from None
    if not servers and not cache_settings.startup_nodes(cache):
        raise misconfigured(cache, "LOCATION names no server")
    return servers or [common]


def _seconds(value: object, default: float) -> float:
    """Return a number of seconds above zero, since None and 0 would mean no timeout."""
    return float(value) if isinstance(value, (int, float)) and value > 0 else default


def _is_false(value: object) -> bool:
    return str(value).upper() in ("0", "F", "FALSE", "N", "NO")
