"""What the tests of emitted files run: programs that pip does not install, and nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

from tests.support.node import Node
from tests.support.processes import MissingProgramError, program, start_all, stop_all
from tests.support.redis.server import RedisServer

SITE = "tests.deploy.showcase"


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """Return what looks for programs: without them a test is skipped, or fails where CI is true."""

    def look(*names: str) -> None:
        try:
            for name in names:
                program(name)
        except MissingProgramError as missing:
            if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
                pytest.fail(str(missing))
            pytest.skip(str(missing))

    return look


@pytest.fixture(scope="session")
def nodes(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Run three nodes on one Redis, for all tests: nobody kills them."""
    needs("redis-server")
    variables = {
        "SITE_FOLDER": str(tmp_path_factory.mktemp("site")),
        "SITE_MCP": json.dumps({"SSE_AFTER_SECONDS": 0}),
    }
    with RedisServer() as redis:
        nodes = [
            Node(
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
