"""What befalls connections: they are cut, the database restarts, the pool is small, they are kept for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import MCPError

from tests.projects.clients import LEGACY, caller
from tests.projects.conftest import Served, Stand
from tests.projects.constants import SEED
from tests.projects.load import abandon, everything, fill
from tests.projects.matrix import grown_project
from tests.projects.project import MOUNT, VIEW, Site
from tests.projects.script import KINDS
from tests.projects.vitals import growth

pytestmark = [pytest.mark.servers, pytest.mark.slow]
WITHIN = 15.0
"""Seconds within which everything must be served again."""
POOLED_WITHIN = 60.0
"""As before, with psycopg's pool, which takes a second or two for each of its connections that was cut."""
CALLS = 20
POOL_SECONDS = 10
NO_POOL: dict[str, Any] = {"OPTIONS": {"pool": None}}
POOL_OF_FOUR: dict[str, Any] = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 4, "timeout": POOL_SECONDS}}}
LONG: dict[str, Any] = {**NO_POOL, "CONN_HEALTH_CHECKS": True}
KEPT = [
    pytest.param({**NO_POOL, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}, id="age-0", marks=pytest.mark.projects),
    pytest.param({**LONG, "CONN_MAX_AGE": 60}, id="age-60", marks=pytest.mark.projects),
    pytest.param({**LONG, "CONN_MAX_AGE": None}, id="age-none", marks=pytest.mark.projects),
]
CHECKED = [
    pytest.param({**LONG, "CONN_MAX_AGE": 60}, id="kept"),
    pytest.param({}, id="pooled", marks=pytest.mark.projects),
]
MIDDLEWARE = [
    pytest.param({}, id="plain-middleware", marks=pytest.mark.projects),
    pytest.param({"SITE_MIDDLEWARE": "async"}, id="async-middleware"),
]


@pytest.fixture
def variables() -> dict[str, str]:
    """Return what else settings read from the environment."""
    return {}


@pytest.fixture
def varied(served: Served, stand: Stand, options: dict[str, Any], variables: dict[str, str]) -> Iterator[Site]:
    """Serve the project with other options of its databases."""
    site = stand.start(*served, options, variables)
    yield site
    site.stop()


@grown_project()
@pytest.mark.parametrize("options", CHECKED)
async def test_calls_get_over_connections_that_were_cut(varied: Site) -> None:
    await _serves(varied)
    assert varied.cut()
    await _serves(varied)


@pytest.mark.projects
@grown_project()
@pytest.mark.parametrize("options", CHECKED)
async def test_calls_get_over_a_restart_of_the_database(varied: Site, stand: Stand) -> None:
    stand.stop_servers()  # whose connections would be cut, too
    await _serves(varied)
    varied.postgres.restart()
    await _serves(varied)


@grown_project()
@pytest.mark.parametrize("options", [POOL_OF_FOUR], ids=["pool-of-four"])
@pytest.mark.parametrize("variables", MIDDLEWARE)
async def test_fifty_abandoned_calls_do_not_exhaust_a_pool_of_four(varied: Site) -> None:
    await _serves(varied)
    async with _watched(varied, "/plain") as seen:
        for path in varied.project.paths:
            # Where the transaction begins first, no more calls begin than there are connections.
            await asyncio.gather(
                abandon(varied, path, 25, in_session=False, begun=4, seconds=0.25),
                abandon(varied, path, 25, in_session=True, begun=4, seconds=0.25),
            )
            await _serves(varied)
    assert set(seen) == {200}


@pytest.mark.projects
@grown_project()
@pytest.mark.parametrize("options", [POOL_OF_FOUR], ids=["pool-of-four"])
async def test_no_call_keeps_a_connection_while_it_waits_for_another_one(varied: Site) -> None:
    async with caller(varied, VIEW, LEGACY) as one, caller(varied, MOUNT, LEGACY) as two:
        asked: list[Awaitable[Any]] = [me.client.list_tools() for me in (one, two) for _ in range(CALLS)]
        asked += [me.call("for_async_readers") for me in (one, two) for _ in range(CALLS)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    # Where they wait for each other, the pool gives up after its timeout.
    faults = [
        answer for answer in answers if isinstance(answer, MCPError) or bool(getattr(answer, "protocol_error", ""))
    ]
    assert not faults


@grown_project()
@pytest.mark.parametrize("options", KEPT)
async def test_connections_that_are_kept_do_not_pile_up_and_may_be_cut(varied: Site) -> None:
    await fill(varied)
    await everything(varied)
    assert not (more := await growth(varied, everything)), more
    varied.cut()
    await _serves(varied)


async def _serves(site: Site) -> None:
    """Wait until tools, the admin and a view of the site are answered, then make more calls: all must be right."""
    deadline = time.monotonic() + (POOLED_WITHIN if site.is_pooled else WITHIN)
    while faults := [*await _faults_of_pages(site), *await _faults_of_calls(site, 1)]:
        assert time.monotonic() < deadline, faults
    assert not (faults := await _faults_of_calls(site, CALLS)), faults


async def _faults_of_pages(site: Site) -> list[str]:
    answers = {path: (await site.get(path)).status_code for path in ("/plain", "/groups", "/admin/login/")}
    return [f"{path}: {status}" for path, status in answers.items() if status != 200]


async def _faults_of_calls(site: Site, count: int) -> list[str]:
    """Read by tools of both kinds, side by side, on each path."""
    faults: list[str] = []
    for path in site.project.paths:
        try:
            async with caller(site, path, LEGACY, proof=False) as me:
                arguments = {"work": "read", "when": "at once", "name": SEED, "seconds": 0}
                calls = [me.call(f"{kind}_call", **arguments) for kind in KINDS for _ in range(count)]
                faults += [f"{path}: {came}" for came in await asyncio.gather(*calls) if came.text != "1"]
        except* Exception as errors:
            faults.append(f"{path}: {errors.exceptions!r}")
    return faults


@asynccontextmanager
async def _watched(site: Site, path: str) -> AsyncIterator[list[int]]:
    """Ask for a page again and again; yield the statuses."""
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append((await site.get(path)).status_code)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
