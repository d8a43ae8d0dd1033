"""Read the Redis settings of a Django cache alias, for django-redis or for Django's own cache backend."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

__all__ = [
    "describe",
    "is_django_redis",
    "is_redis",
    "is_sharded",
    "key_prefix",
    "locations",
    "misconfigured",
    "names_cluster",
    "options",
    "sentinels",
    "startup_nodes",
]

_DJANGO: Final = "django.core.cache.backends.redis.RedisCache"
_DJANGO_REDIS: Final = "django_redis.cache.RedisCache"
_SHARDS: Final = "django_redis.client.sharded.ShardClient"


def key_prefix(cache: Mapping[str, Any]) -> str:
    """Return the prefix of every key: the alias' KEY_PREFIX and a colon, or an empty string."""
    prefix = cache.get("KEY_PREFIX")
    return f"{prefix}:" if prefix else ""


def is_redis(cache: Mapping[str, Any]) -> bool:
    """Return whether the alias is a Redis cache: django-redis', Django's own, or a subclass of either."""
    return bool({_DJANGO, _DJANGO_REDIS} & set(_lineage(cache.get("BACKEND", ""))))


def is_django_redis(cache: Mapping[str, Any]) -> bool:
    """Return whether the alias is django-redis', whose options have their own names."""
    return _DJANGO_REDIS in _lineage(cache.get("BACKEND", ""))


def describe(cache: Mapping[str, Any]) -> str:
    """Return the store's addresses for log lines and errors, without user, password and options."""
    sentinel_addresses = sentinels(cache)
    nodes = startup_nodes(cache)
    if nodes and sentinel_addresses is None:
        return ", ".join(f"{host}:{port}" for host, port in nodes)
    addresses = ", ".join(_without_secrets(url) for url in locations(cache)) or "no address"
    if sentinel_addresses is None:
        return addresses
    return f"{addresses} behind Sentinel at {', '.join(f'{host}:{port}' for host, port in sentinel_addresses)}"


def misconfigured(cache: Mapping[str, Any], problem: str) -> ImproperlyConfigured:
    """Return the error for a wrong setting of the alias."""
    return ImproperlyConfigured(f"The cache alias of MCP_TRANSPORT (Redis at {describe(cache)}): {problem}.")


def options(cache: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the alias' OPTIONS."""
    return cache.get("OPTIONS") or {}


def locations(cache: Mapping[str, Any]) -> list[str]:
    """Return the addresses, the primary server's first."""
    location = cache.get("LOCATION") or ()
    if isinstance(location, str):
        location = re.split("," if is_django_redis(cache) else "[;,]", location)
    return [url.strip() for url in location if url.strip()]


def sentinels(cache: Mapping[str, Any]) -> list[tuple[str, int]] | None:
    """Return the sentinels' addresses: django-redis' list, or those of the manager for Django's pool; or None."""
    if options(cache).get("SENTINELS"):
        return [(host, port) for host, port in options(cache)["SENTINELS"]]
    manager = options(cache).get("sentinel_manager")
    if manager is None:
        return None
    options_of_sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    return [(kwargs["host"], kwargs["port"]) for kwargs in options_of_sentinels]


def startup_nodes(cache: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the `startup_nodes` for the client of a Redis Cluster."""
    nodes = (options(cache).get("REDIS_CLIENT_KWARGS") or {}).get("startup_nodes") or ()
    return [(node["host"], node["port"]) if isinstance(node, Mapping) else (node.host, node.port) for node in nodes]


def names_cluster(cache: Mapping[str, Any]) -> bool:
    """Return whether the alias names a class for a Redis Cluster; neither backend has an option of its own for it."""
    names = ("REDIS_CLIENT_CLASS", "CLIENT_CLASS", "CONNECTION_FACTORY", "CONNECTION_POOL_CLASS", "pool_class")
    classes = [cache.get("BACKEND", ""), *(options(cache).get(name) or "" for name in names)]
    ancestors = (name.rpartition(".")[2] for kind in classes for name in _lineage(kind))
    # ClusterCommands is an ancestor of every client, also of those for one server.
    return any("Cluster" in name and not name.endswith("Commands") for name in ancestors)


def is_sharded(cache: Mapping[str, Any]) -> bool:
    """Return whether the alias distributes its keys over several servers."""
    return _SHARDS in _lineage(options(cache).get("CLIENT_CLASS") or "") and len(locations(cache)) > 1


def _lineage(cls: str | type) -> tuple[str, ...]:
    """Return the dotted names of a class and its ancestors, or only its own if it cannot be imported."""
    try:
        kind: Any = import_string(cls) if isinstance(cls, str) else cls
    except ImportError:
        return (str(cls),)
    return tuple(f"{ancestor.__module__}.{ancestor.__qualname__}" for ancestor in inspect.getmro(kind))


def _without_secrets(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
    except ValueError:
        return "(unreadable)"
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    if parts.scheme not in ("redis", "rediss") or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return "(unreadable)"  # such as a password with an unescaped ? or /
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{parts.path}"
