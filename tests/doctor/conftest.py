"""Nodes for all tests: two on one Redis, and a separate one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.node import Node, WarmNode
from tests.support.processes import start_all, stop_all
from tests.support.programs import need
from tests.support.redis.server import RedisServer

PAGES = "https://app.example"
LOCAL = json.dumps({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"})


def node(server: str, mcp: Mapping[str, Any], **variables: str) -> WarmNode:
    settings = {"ALLOWED_ORIGINS": [PAGES], "DRAIN_SECONDS": 0, **mcp}
    return WarmNode(
        server,
        settings="tests.doctor.settings",
        application="tests.support.cluster.site.asgi:application",
        environment={"SITE_MCP": json.dumps(settings), "REDIS_URL": "redis://unused", **variables},
    )


class Nodes:
    """`shared` are two nodes on one Redis; `apart` shares nothing and has a long keep-alive interval."""

    def __init__(self, redis: RedisServer) -> None:
        brief = {"KEEPALIVE_SECONDS": 0.3}
        self.shared = [node(kind, brief, REDIS_URL=redis.url) for kind in ("daphne", "uvicorn")]
        self.apart = node("daphne", {"KEEPALIVE_SECONDS": 15.0}, SITE_CACHE=LOCAL)

    @property
    def ports(self) -> list[int]:
        """The ports of the shared nodes."""
        return [node.port for node in self.shared]

    @property
    def all(self) -> list[Node]:
        """All nodes."""
        return [*self.shared, self.apart]


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    need("redis-server", "nginx", "haproxy")
    with RedisServer() as redis:
        nodes = Nodes(redis)
        start_all(nodes.all)
        yield nodes
        stop_all(nodes.all)
