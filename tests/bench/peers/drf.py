"""A Django project with djangorestframework-mcp-server: asynchronous, or for WSGI with BENCH_MODE=sync.

BENCH_CACHE says whether sessions live in LocMem or in Redis.
"""

# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
# (the package is installed in an environment of its own)
from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import path

from tests.bench.peers.project import LOCMEM, REDIS, set_up

IS_SYNC, HAS_REDIS = os.environ["BENCH_MODE"] == "sync", os.environ["BENCH_CACHE"] == "redis"
# A LocMem cache keeps 300 entries unless told otherwise: sessions would be lost.
_LOCMEM = {"BACKEND": LOCMEM, "OPTIONS": {"MAX_ENTRIES": 1_000_000}}
set_up(
    __name__,
    "rest_framework",
    CACHES={"default": {"BACKEND": REDIS, "LOCATION": os.environ["REDIS_URL"]} if HAS_REDIS else _LOCMEM},
    # Without authentication, and with as many streams as are asked for.
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
    REST_FRAMEWORK_MCP={"REQUIRE_TOOL_PERMISSIONS": False, "MAX_CONCURRENT_SSE_STREAMS": 100_000},
)

from rest_framework_mcp import MCPServer  # noqa: E402 (after Django is set up)
from rest_framework_mcp.auth.backends.allow_any_backend import AllowAnyBackend  # noqa: E402

broker = None
if HAS_REDIS:
    from redis.asyncio import Redis
    from rest_framework_mcp.transport.redis_sse_broker import RedisSSEBroker

    broker = RedisSSEBroker(Redis.from_url(os.environ["REDIS_URL"]))

server = MCPServer(name="drf", auth_backend=AllowAnyBackend(), sse_broker=broker)


@dataclass
class Numbers:
    a: int
    b: int


@dataclass
class Steps:
    steps: int
    pause: float = 0.0


def add(*, data: Numbers) -> dict[str, int]:
    """Add."""
    return {"sum": data.a + data.b}


async def async_add(*, data: Numbers) -> dict[str, int]:
    """Add."""
    return add(data=data)


async def count(*, data: Steps, progress: Any) -> dict[str, int]:
    """Report progress `steps` times."""
    for step in range(1, data.steps + 1):
        progress(step, total=data.steps)
        await asyncio.sleep(data.pause)
    return {"steps": data.steps}


server.service_tool(name="add", input_serializer=Numbers, atomic=False)(add if IS_SYNC else async_add)
if not IS_SYNC:
    server.service_tool(name="count", input_serializer=Steps, atomic=False)(count)
urlpatterns = [path("mcp", server.urls if IS_SYNC else server.async_urls)]
application = get_wsgi_application() if IS_SYNC else get_asgi_application()
