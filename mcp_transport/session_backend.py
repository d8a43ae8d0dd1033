"""Builds the session backend that the settings name."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.engine.clock import Clock, SystemClock
from mcp_transport.exceptions import BackendError

if TYPE_CHECKING:
    from mcp_transport.backends.base import Backend
    from mcp_transport.backends.dynamodb.client import TableSettings
    from mcp_transport.domain.policy import Policy

__all__ = [
    "backend_name",
    "build_backend",
    "check_table",
    "create_table",
    "max_event_bytes",
    "redis_acl_rule",
    "table_name",
    "table_policy",
]


_LOST_SECONDS: Final = 30.0
"""After how long without a sign of it the sessions of a region continue in another one."""


def backend_name() -> str:
    """Return the backend's name or dotted path; `auto` is resolved by the type of the cache."""
    name: str = conf.get("BACKEND")
    if name != "auto":
        return name
    kind = caches.settings[conf.get("CACHE")]["BACKEND"]
    if kind.endswith(("LocMemCache", "DummyCache")):
        return "memory"
    return "redis" if _is_redis() else "cache"


def _is_redis() -> bool:
    """Return whether the cache is Redis and redis-py is installed."""
    try:
        from mcp_transport.backends.redis.connection import is_redis
    except ImportError:
        return False
    return is_redis(caches.settings[conf.get("CACHE")])


def _require_redis() -> None:
    if not _is_redis():
        raise ImproperlyConfigured(
            f"the backend 'redis' needs a Redis cache, but CACHES[{conf.get('CACHE')!r}] is not one, "
            "or redis-py is not installed: pip install 'django-mcp-transport[redis]'"
        )


def build_backend(clock: Clock | None = None) -> Backend:
    """Build the session backend; the memory and cache backends read the time from `clock`.

    Raises:
        ImproperlyConfigured: BACKEND is neither a bundled backend nor the dotted path of a function that returns a
            `Backend`, or of a `LocalBackend` class.
    """
    from mcp_transport.backends.base import Backend
    from mcp_transport.backends.local import LocalBackend
    from mcp_transport.backends.memory import MemoryBackend

    name, policy, now = backend_name(), conf.policy(), (clock or SystemClock()).now
    if name == "memory":
        return Backend.of(MemoryBackend(policy, now))
    if name == "cache":
        from mcp_transport.backends.cache import CacheBackend

        return Backend.of(CacheBackend(policy, now, conf.get("CACHE")))
    if name == "redis":
        _require_redis()
        from mcp_transport.backends.redis import redis_backend

        return redis_backend(policy, caches.settings[conf.get("CACHE")], cluster=conf.get("REDIS_CLUSTER"))
    if name == "dynamodb":
        return _dynamodb_backend(policy)
    try:
        backend = import_string(name)(policy, now)
    except ImportError as error:
        expected = "auto, memory, cache, redis, dynamodb or a dotted path"
        raise ImproperlyConfigured(f"MCP_TRANSPORT['BACKEND'] = {name!r} must be {expected}: {error}") from error
    if isinstance(backend, Backend | LocalBackend):
        return backend if isinstance(backend, Backend) else Backend.of(backend)
    expected = f"return a {Backend.__module__}.Backend or be a subclass of {LocalBackend.__module__}.LocalBackend"
    raise ImproperlyConfigured(f"MCP_TRANSPORT['BACKEND'] = {name!r} must {expected}")


def redis_acl_rule(user: str) -> str:
    """Return the ACL command that grants a Redis user the permissions that the backend needs.

    Raises:
        ImproperlyConfigured: the backend is not `redis`.
    """
    if backend_name() != "redis":
        raise ImproperlyConfigured(f"The backend is {backend_name()!r}, which does not use Redis.")
    _require_redis()
    from mcp_transport.backends.redis.acl import acl_rule
    from mcp_transport.backends.redis.connection import is_cluster, key_prefix

    cache = caches.settings[conf.get("CACHE")]
    return acl_rule(key_prefix(cache), cluster=is_cluster(cache, conf.get("REDIS_CLUSTER")), user=user)


def _dynamodb_backend(policy: Policy) -> Backend:
    tables = _tables()
    if not conf.get("DYNAMODB").get("REGIONS"):
        from mcp_transport.backends.dynamodb.backend import dynamodb_backend

        [table] = tables.values()
        return dynamodb_backend(policy, table)
    if policy.region not in tables:
        raise ImproperlyConfigured(
            f"MCP_TRANSPORT['REGION'] is {policy.region!r}, but must be one of MCP_TRANSPORT['DYNAMODB']['REGIONS']: "
            f"{', '.join(tables)}"
        )
    from mcp_transport.backends.dynamodb.regions.backend import regions_backend

    return regions_backend(policy, tables, conf.get("DYNAMODB").get("REGION_LOST_SECONDS", _LOST_SECONDS))


async def create_table() -> list[str]:
    """Create the table of the setting DYNAMODB unless it exists, and return what is wrong with one that did.

    Of several regions that of this process; the others are replicas. Raises: ImproperlyConfigured, BackendError.
    """
    tables = _tables()
    from mcp_transport.backends.dynamodb.client import DynamoClient
    from mcp_transport.backends.dynamodb.creation import check_table, create_table

    client = DynamoClient(tables.get(conf.get("REGION")) or next(iter(tables.values())))
    await create_table(client)
    return await check_table(client)


async def check_table() -> list[str]:
    """Return how the table differs from what the backend needs, in each region that has it.

    Raises: ImproperlyConfigured, BackendError.
    """
    tables = _tables()
    from mcp_transport.backends.dynamodb.client import DynamoClient
    from mcp_transport.backends.dynamodb.creation import check_table

    differences = []
    for region, table in tables.items():
        faults = await check_table(DynamoClient(table), replicas=set(tables) - {region})
        differences += [f"{region}: {difference}" if len(tables) > 1 else difference for difference in faults]
    return differences


def table_policy(region: str | None, account: str, partition: str, *, creates: bool) -> dict[str, Any]:
    """Return the IAM policy for the nodes or, with `creates`, for the command that creates the table.

    Without a `region` it is for those of the setting, or for all.
    """
    from mcp_transport.backends.dynamodb.table import iam_policy

    options = conf.get("DYNAMODB")
    regions = [region] if region else options.get("REGIONS") or [options.get("REGION") or "*"]
    return iam_policy(table_name(), regions=regions, account=account, partition=partition, creates=creates)


def table_definition() -> dict[str, Any]:
    """Return what CloudFormation needs of the table, besides its name."""
    from mcp_transport.backends.dynamodb.table import DEFINITION, TIME_TO_LIVE

    return {**DEFINITION, "TimeToLiveSpecification": TIME_TO_LIVE}


def max_event_bytes() -> int | None:
    """Return the size of the largest event that the backend stores; None if it has no limit of its own."""
    if backend_name() != "dynamodb":
        return None
    from mcp_transport.backends.dynamodb.table import MAX_EVENT_BYTES

    return MAX_EVENT_BYTES


def table_name() -> str:
    """Return the name of the table."""
    from mcp_transport.backends.dynamodb.table import DEFAULT_TABLE

    name: str = conf.get("DYNAMODB").get("TABLE", DEFAULT_TABLE)
    return name


def _tables() -> dict[str, TableSettings]:
    """Return where the table is, by region. Raises: ImproperlyConfigured."""
    if importlib.util.find_spec("boto3") is None:
        raise ImproperlyConfigured(
            "the backend 'dynamodb' needs boto3, which is not installed: pip install 'django-mcp-transport[aws]'"
        )
    from mcp_transport.backends.dynamodb.client import TableSettings

    options, own = conf.get("DYNAMODB"), conf.get("REGION")
    regions = options.get("REGIONS") or [options.get("REGION") or _default_region()]
    url, has_several = options.get("ENDPOINT_URL"), len(regions) > 1
    return {
        region: TableSettings(
            table=table_name(),
            region=region,
            endpoint_url=url.replace("{region}", region) if url else None,
            namespace=region if has_several else "",
            is_remote=has_several and region != own,
        )
        for region in regions
    }


def _default_region() -> str:
    """Return the region that botocore finds. Raises: ImproperlyConfigured."""
    from mcp_transport.backends.dynamodb.client import default_region

    try:
        region = default_region()
    except BackendError as error:
        raise ImproperlyConfigured(str(error)) from error
    if region is None:
        raise ImproperlyConfigured(
            "the backend 'dynamodb' needs a region, but neither MCP_TRANSPORT['DYNAMODB']['REGION'], the environment "
            "variable AWS_DEFAULT_REGION nor the AWS profile names one"
        )
    return region
