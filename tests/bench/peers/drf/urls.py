"""The endpoint of djangorestframework-mcp-server: its asynchronous URLs, or those for WSGI with BENCH_MODE=sync."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from django.urls import path
from rest_framework_mcp import MCPServer
from rest_framework_mcp.auth.backends.allow_any_backend import AllowAnyBackend

broker = None
if os.environ["BENCH_CACHE"] == "redis":
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


if os.environ["BENCH_MODE"] == "sync":

    @server.service_tool(name="add", input_serializer=Numbers, atomic=False)
    def add(*, data: Numbers) -> dict[str, int]:
        """Add."""
        return {"sum": data.a + data.b}

    urlpatterns = [path("mcp", server.urls)]

else:

    @server.service_tool(name="add", input_serializer=Numbers, atomic=False)
    async def add(*, data: Numbers) -> dict[str, int]:
        """Add."""
        return {"sum": data.a + data.b}

    @server.service_tool(name="count", input_serializer=Steps, atomic=False)
    async def count(*, data: Steps, progress: Any) -> dict[str, int]:
        """Report progress `steps` times."""
        for step in range(1, data.steps + 1):
            progress(step, total=data.steps)
            await asyncio.sleep(data.pause)
        return {"steps": data.steps}

    urlpatterns = [path("mcp", server.async_urls)]
