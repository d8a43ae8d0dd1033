"""A client for the Redis that a Django cache alias points at, so that Redis is configured in one place.

Read are the addresses and options of django-redis and of Django's own cache backend: one server, over TCP, TLS
or a Unix socket, behind Sentinel, or a Cluster. What is theirs alone (serializers, compressors, parsers, pool
classes, retries, IGNORE_EXCEPTIONS) is left out: this package stores bytes, and an error is for it to handle.
"""

from __future__ import annotations

import contextlib
import inspect
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis
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
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    ClusterError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)

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

# The store did not answer, or refuses for reasons of its own; another try, later, may do.
STORE_ERRORS: Final[tuple[type[Exception], ...]] = (
    redis.exceptions.ConnectionError,  # also: loading, pool exhausted, Sentinel knows no master, wrong password
    redis.exceptions.TimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterError,  # also: cluster down, master down, too many redirections
    TryAgainError,
    RedisClusterException,  # no node reachable, slots not covered
    InvalidResponse,
    OSError,  # also: TimeoutError, which is asyncio's
)

# Nothing but an operator's hand mends these. Some are STORE_ERRORS as well, as redis-py has it: look here first.
_SETUP_ERRORS: Final[tuple[type[Exception], ...]] = (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    MovedError,  # a Cluster that is not known as one
)

# What NOPERM is called inside a script.
_FORBIDDEN: Final = "The user executing the script can't run this command"

# Refusals of the store that redis-py has no class for; before 6.0, some of them only in a Cluster's client.
_REFUSALS: Final = ("BUSY ", "CLUSTERDOWN ", "MASTERDOWN ", "MISCONF ", "NOREPLICAS ", "TRYAGAIN ", "UNBLOCKED ")

_SOCKET_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 2.0

# A pool makes callers queue (as long as connecting may take), a Cluster's node refuses at once: hence more of them.
_POOL_CONNECTIONS: Final = 100
_NODE_CONNECTIONS: Final = 1000

_TAKEN: Final = (
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
_TAKEN_BY_CLUSTERS: Final = ("address_remap", "dynamic_startup_nodes", "require_full_coverage")


def is_store_error(error: BaseException) -> bool:
    """Return whether the store failed, rather than what was asked of it: the STORE_ERRORS, and some replies."""
    return isinstance(error, STORE_ERRORS) or (isinstance(error, ResponseError) and str(error).startswith(_REFUSALS))


def is_setup_error(error: BaseException) -> bool:
    """Return whether nothing but an operator's hand mends it."""
    return isinstance(error, _SETUP_ERRORS) or str(error).startswith(_FORBIDDEN)


def is_cluster(cache: Mapping[str, Any], said: bool | None = None) -> bool:
    """Return whether the alias is a Redis Cluster: what a setting says of it, or else the alias itself."""
    if said is not None:
        return said
    return cache_settings.sentinels(cache) is None and cache_settings.says_cluster(cache)


def connect(
    cache: Mapping[str, Any], *, cluster: bool | None = None, blocking: float | None = None
) -> Redis | RedisCluster:
    """Return a client that connects with its first command. Raises: ImproperlyConfigured.

    `cluster` says whether the alias is a Redis Cluster where the alias cannot; `blocking` is for how many seconds
    a command may wait on the server, on top of the time an answer may take. Nothing is ever sent twice. When all
    `max_connections` (the alias', or 100) are in use, a command waits for one as long as connecting may take,
    then fails as a connection does; the node of a Cluster (the alias', or 1000) fails at once.
    """
    if cache_settings.says_shards(cache):
        raise misconfigured(cache, "ShardClient spreads keys over servers: name an alias with one server")
    if is_cluster(cache, cluster):
        return _connect_cluster(cache, blocking or 0.0)
    if cache_settings.sentinels(cache) is not None:
        return _connect_sentinel(cache, blocking or 0.0)
    wanted = _ConnectionOptions.of(_parsed(cache)[0], blocking or 0.0)
    kind = (
        UnixDomainSocketConnection
        if "path" in wanted.plain
        else SSLConnection
        if wanted.tls is not None
        else Connection
    )
    pool = BlockingConnectionPool(connection_class=kind, **wanted.for_pool(cache))
    return Redis.from_pool(pool)


async def recover(client: Redis | RedisCluster) -> None:
    """Let a Cluster's client look for its nodes again after a store error; any other finds back by itself.

    Pipelines never notice that a node's place was taken by another, nor that idle connections are dead.
    """
    if not isinstance(client, RedisCluster):
        return
    with contextlib.suppress(*STORE_ERRORS):
        await client.nodes_manager.initialize()
        for node in client.get_nodes():
            if hasattr(node, "disconnect_free_connections"):  # redis-py 7
                await node.disconnect_free_connections()


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master that Sentinel names, for which callers queue."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # that is: closed; the connections to the sentinels are nobody else's
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


@dataclass(frozen=True, slots=True)
class _ConnectionOptions:
    """What an alias wants of a connection, in redis.asyncio's words."""

    plain: dict[str, Any]
    tls: dict[str, Any] | None
    most: int | None

    @classmethod
    def of(cls, given: Mapping[str, Any], blocking: float = 0.0) -> _ConnectionOptions:
        """Sort out what is given; seconds are always limited, and commands never sent twice."""
        plain = {name: given[name] for name in _TAKEN if given.get(name) is not None}
        plain |= {
            "socket_timeout": _seconds(given.get("socket_timeout"), _SOCKET_SECONDS) + blocking,
            "socket_connect_timeout": _seconds(given.get("socket_connect_timeout"), _CONNECT_SECONDS),
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": False,
            "health_check_interval": 0,
            "client_name": "mcp",
            "protocol": 2,  # what every version of redis-py can, with the same answers
        }
        if "path" in plain:
            plain = {name: value for name, value in plain.items() if not name.startswith("socket_keepalive")}
        kind = given.get("connection_class")
        safe = isinstance(kind, type) and issubclass(kind, (SSLConnection, redis.connection.SSLConnection))
        tls = {name: value for name, value in given.items() if name.startswith("ssl_")}
        if tls.get("ssl_cert_reqs", "required") in (None, "none", ssl.CERT_NONE):
            tls["ssl_check_hostname"] = False  # redis-py does so itself, but not 6.0
        return cls(plain, tls if safe or given.get("ssl") is True else None, given.get("max_connections"))

    def for_pool(self, cache: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a pool of connections."""
        queue = {
            "max_connections": self.most or _POOL_CONNECTIONS,
            "timeout": self.plain["socket_connect_timeout"],
        }
        return {**self.plain, **self.checked_tls(cache, SSLConnection), **queue}

    def checked_tls(self, cache: Mapping[str, Any], of: Callable[..., object]) -> dict[str, Any]:
        """Return the options of TLS; refuse, rather than leave out, what redis.asyncio cannot check."""
        known = inspect.signature(of).parameters
        unknown = sorted(name for name, value in (self.tls or {}).items() if name not in known and value)
        if unknown:
            raise misconfigured(cache, f"redis.asyncio {redis.__version__} does not know {', '.join(unknown)}")
        return {name: value for name, value in (self.tls or {}).items() if name in known}


def _connect_sentinel(cache: Mapping[str, Any], blocking: float) -> Redis:
    masters = [given for given in _parsed(cache) if not _is_no(given.get("is_master"))]
    if not masters:
        raise misconfigured(cache, "it reads from replicas (is_master=0), but sessions are written")
    wanted = _ConnectionOptions.of(masters[0], blocking)
    service = cache_settings.options(cache).get("service_name") or masters[0].get("host")
    if not service:
        raise misconfigured(cache, "LOCATION names no service: write redis://<service>/<db>")
    manager = cache_settings.options(cache).get("sentinel_manager")
    given = cache_settings.options(cache).get("SENTINEL_KWARGS") or getattr(manager, "sentinel_kwargs", None) or {}
    # A sentinel knows the answer or does not: the time to connect is enough.
    ask = _ConnectionOptions.of({"socket_timeout": _CONNECT_SECONDS, **given})
    asking = ask.plain | ({"ssl": True, **ask.checked_tls(cache, Redis)} if ask.tls is not None else {})
    sentinels = Sentinel(list(cache_settings.sentinels(cache) or ()), sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    kind = SentinelManagedConnection if wanted.tls is None else SentinelManagedSSLConnection
    pooled = wanted.for_pool(cache)
    return Redis.from_pool(_MasterPool(service, sentinels, connection_class=kind, **pooled))  # type: ignore[no-untyped-call]


def _connect_cluster(cache: Mapping[str, Any], blocking: float) -> RedisCluster:
    if int(redis.__version__.partition(".")[0]) < 6:
        # Its pipelines do not work without its retries, which would run scripts twice.
        raise misconfigured(cache, f"a Cluster needs redis-py 6 or newer, this is {redis.__version__}")
    servers = _parsed(cache)
    wanted = _ConnectionOptions.of(servers[0], blocking)
    if "path" in wanted.plain:
        raise misconfigured(cache, "a Cluster has no Unix socket: write redis://<host>:<port>")
    if int(wanted.plain.get("db", 0)) != 0:
        raise misconfigured(cache, "a Cluster has no database but 0")
    nodes = cache_settings.startup_nodes(cache)
    nodes = nodes or [(given.get("host", "localhost"), given.get("port", 6379)) for given in servers]
    plain = {name: value for name, value in wanted.plain.items() if name not in ("host", "port", "db")}
    tls = {"ssl": True, **wanted.checked_tls(cache, RedisCluster)} if wanted.tls is not None else {}
    own = {name: servers[0][name] for name in _TAKEN_BY_CLUSTERS if name in servers[0]}
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in nodes],
        max_connections=wanted.most or _NODE_CONNECTIONS,
        **(plain | tls | own),
    )


def _parsed(cache: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the alias says of each of its servers; an address has the last word, as in redis-py."""
    options = cache_settings.options(cache)
    if cache_settings.is_django_redis(cache):
        names = ("USERNAME", "PASSWORD", "SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")
        given = {name.lower(): options[name] for name in names if options.get(name)}
        if cache_settings.says_cluster(cache):  # elsewhere django-redis passes these where redis-py does not look
            given |= options.get("REDIS_CLIENT_KWARGS") or {}
        given |= options.get("CONNECTION_POOL_KWARGS") or {}
    else:
        given = dict(options)
    servers = []
    for url in cache_settings.locations(cache):
        try:
            servers.append({**given, **parse_url(url)})
        except ValueError:  # its text may hold a piece of a password
            message = "LOCATION must be redis://, rediss:// or unix:// and an address, special characters quoted"
            raise misconfigured(cache, message) from None
    if not servers and not cache_settings.startup_nodes(cache):
        raise misconfigured(cache, "LOCATION names no server")
    return servers or [given]


def _seconds(given: object, otherwise: float) -> float:
    """Return a number of seconds above zero: None and 0 would mean for ever."""
    return float(given) if isinstance(given, (int, float)) and given > 0 else otherwise


def _is_no(value: object) -> bool:
    return str(value).upper() in ("0", "F", "FALSE", "N", "NO")
