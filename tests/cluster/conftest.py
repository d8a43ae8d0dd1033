"""Real processes are needed here: without redis-server and nginx the tests are skipped, or fail where CI is true."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site
from tests.support.processes import MissingProgramError, program


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


@pytest.fixture(scope="session")
def site(programs: None) -> Iterator[Site]:
    """Run a daphne node and a uvicorn node on one Redis, for all tests: nobody kills, pauses or empties anything."""
    with Site(mcp={"DRAIN_SECONDS": 1}) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    """Open a session; either node can serve it."""
    async with site.client() as client:
        await client.initialize()
        yield client


@pytest.fixture(params=[(0, 1), (1, 0)], ids=["one-two", "two-one"])
def pair(site: Site, request: pytest.FixtureRequest) -> tuple[int, int]:
    """Name the ports of two nodes, in either order."""
    first, second = request.param
    return site.ports[first], site.ports[second]
