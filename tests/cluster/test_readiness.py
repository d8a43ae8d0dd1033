"""Real servers are ready when they are warm: not before, and the first call then finds everything built and open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.warming_node import MOUNTED, OK, VIEW, Warming
from tests.support.redis.server import RedisServer

WARMING_UP = (503, {"status": "unavailable", "reason": "warming up"})
FIRST_CALLS = 3


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def node(request: pytest.FixtureRequest, redis: RedisServer, tmp_path: Path) -> Iterator[Warming]:
    redis.cli("FLUSHALL")
    server, application = request.param
    node = Warming(server, application, redis, tmp_path)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def connections(redis: RedisServer) -> list[str]:
    """Return the ids of the connections that the nodes have opened."""
    lines = redis.cli("CLIENT", "LIST").splitlines()
    return [line.split()[0] for line in lines if " name=mcp " in line]


UVICORN, DAPHNE, GUNICORN = ("uvicorn", MOUNTED), ("daphne", MOUNTED), ("gunicorn", MOUNTED)


def servers(*cases: tuple[str, str]) -> pytest.MarkDecorator:
    names = [f"{server}-{application.partition(':')[2]}" for server, application in cases]
    return pytest.mark.parametrize("node", cases, indirect=True, ids=names)


@servers(UVICORN, GUNICORN, ("daphne", VIEW))
def test_a_server_is_ready_when_it_is_warm_and_its_first_call_builds_nothing(
    node: Warming, redis: RedisServer
) -> None:
    assert [node.get(path) for path in ("/readyz", "/health", "/healthz")] == [WARMING_UP, WARMING_UP, OK]
    pid = node.call("where")
    assert node.get("/readyz") == WARMING_UP, "a call that comes early is answered, and changes nothing"
    node.until((node.folder / "prewarm.runs").exists)
    assert [node.get(path) for path in ("/readyz", "/healthz")] == [WARMING_UP, OK]
    node.open()
    node.until(lambda: node.get("/readyz") == OK)
    opened = connections(redis)
    assert (redis.ask("ZCARD", "mcp:nodes"), len(opened)) == (1, 2)  # for commands, and for the inbox
    assert [node.call("where") for _ in range(FIRST_CALLS)] == [pid] * FIRST_CALLS
    assert connections(redis) == opened


@servers(UVICORN, DAPHNE, ("uvicorn", VIEW))
def test_the_first_call_of_a_warm_server_opens_and_imports_nothing(node: Warming, redis: RedisServer) -> None:
    assert node.get("/readyz") == WARMING_UP
    node.open()
    node.until(lambda: node.get("/readyz") == OK)
    opened = connections(redis)
    imported = set(node.call("modules")) - set((node.folder / "prewarm.modules").read_text().splitlines())
    assert connections(redis) == opened
    assert imported == set()


@servers(UVICORN, DAPHNE, GUNICORN)
def test_sigterm_ends_a_warm_up(node: Warming, redis: RedisServer) -> None:
    if node.server == "daphne":  # others have a lifespan
        assert node.get("/readyz") == WARMING_UP
    node.until((node.folder / "prewarm.runs").exists)
    assert redis.ask("ZCARD", "mcp:nodes") == 1
    node.terminate()
    assert node.wait(60)
    assert redis.ask("ZCARD", "mcp:nodes") == 0, "it left the other nodes"
    assert "Traceback" not in node.fresh_log
    assert "never retrieved" not in node.fresh_log
