"""Fixtures for tests of generated files: external programs and nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.node import WarmNode
from tests.support.processes import start_all, stop_all
from tests.support.programs import need
from tests.support.redis.server import RedisServer

SITE = "tests.deploy.showcase"


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[WarmNode]]:
    """Run three nodes on one Redis, shared by all tests; no test may kill them."""
    need("redis-server")
    variables = {
        "SITE_FOLDER": str(tmp_path_factory.mktemp("site")),
        "SITE_MCP": json.dumps({"SSE_AFTER_SECONDS": 0}),
    }
    with RedisServer() as redis:
        nodes = [
            WarmNode(
                server,
                settings=f"{SITE}.settings",
                application=f"{SITE}.asgi:application",
                environment={**variables, "REDIS_URL": redis.url},
                name=f"{server}-{number}",
            )
            for number, server in enumerate(("daphne", "uvicorn", "daphne"))
        ]
        start_all(nodes)
        yield nodes
        stop_all(nodes)
