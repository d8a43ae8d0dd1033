"""Cache aliases as projects write them, for either cache backend, and clients that are closed again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis

from mcp_transport.backends.redis.connection import connect

DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"

Alias = dict[str, Any]
clusters = pytest.mark.skipif(int(redis.__version__.partition(".")[0]) < 6, reason="a Cluster needs redis-py 6")
# Refused connections are answered at once on loopback: these bound what never should take long.
QUICK = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}


def django_redis(location: Any, **options: Any) -> Alias:
    """Return an alias of django-redis; lower-case options go into CONNECTION_POOL_KWARGS."""
    pool = {name: value for name, value in options.items() if name.islower()}
    own = {name: value for name, value in options.items() if not name.islower()}
    return {"BACKEND": DJANGO_REDIS, "LOCATION": location, "OPTIONS": {"CONNECTION_POOL_KWARGS": pool, **own}}


def django(location: Any, **options: Any) -> Alias:
    """Return an alias of Django's own backend."""
    return {"BACKEND": DJANGO, "LOCATION": location, "OPTIONS": options}


@contextlib.asynccontextmanager
async def client(cache: Alias, **arguments: Any) -> AsyncIterator[Any]:
    """Connect, and close what was opened."""
    connected = connect(cache, **arguments)
    try:
        yield connected
    finally:
        await connected.aclose()


async def until(holds: Callable[[], Awaitable[Any]], seconds: float = 10.0, pause: float = 0.02) -> Any:
    """Return the first true answer; fail when there is none in time."""
    async with asyncio.timeout(seconds):
        while not (answer := await holds()):  # noqa: ASYNC110 - a server in another process sets no event
            await asyncio.sleep(pause)
    return answer
