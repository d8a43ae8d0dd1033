"""Real processes are needed here: without redis-server and nginx the tests are skipped, or fail where CI is true."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.cluster.nodes import Site
from tests.support.cluster.stage import Stage
from tests.support.http.client import Client
from tests.support.processes import MissingProgramError, program

each_way = pytest.mark.parametrize("pair", [(0, 1), (1, 0)], ids=["to-uvicorn", "to-daphne"], indirect=True)
"""Runs a test with `pair` in both orders: where it matters which server holds the stream or runs the call."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Look for the programs that are not installed by pip."""
    try:
        program("redis-server")
        program("nginx")
    except MissingProgramError as missing:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(autouse=True)
def each_key_expires(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves something in the store of a stage which never expires, unless there is a reason."""
    yield
    for name in ("site", "stage"):
        if (used := request.node.funcargs.get(name)) is not None:
            used.store.refuse_leftovers()


@pytest.fixture(scope="session")
def site(programs: None) -> Iterator[Site]:
    """Run a daphne node and a uvicorn node on one store, for all tests: nobody kills, pauses or empties anything."""
    with Site(mcp={"DRAIN_SECONDS": 1}) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    """Open a session; either node can serve it."""
    async with site.client() as client:
        await client.initialize()
        yield client


@pytest.fixture
def pair(site: Site, request: pytest.FixtureRequest) -> tuple[int, int]:
    """Name the ports of two nodes: of daphne and uvicorn, unless `each_way` says otherwise."""
    first, second = getattr(request, "param", (0, 1))
    return site.ports[first], site.ports[second]


@pytest.fixture
async def caller(stage: Stage) -> AsyncIterator[Client]:
    """Open a session at the first node of the file's own stage; any of its nodes can serve it."""
    async with Client(*stage.ports) as client:
        await client.initialize()
        yield client


@pytest.fixture
def stage(shared: Stage) -> Stage:
    """Bring back what the last test has killed of the stage that a module shares."""
    shared.mend()
    return shared
