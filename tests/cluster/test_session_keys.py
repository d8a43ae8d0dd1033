"""What an id is worth at nodes with other settings: rotated keys, REHYDRATE off, a short life."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.cluster.nodes import Site
from tests.support.http.client import Client

PLAIN, ROTATED, STRICT, IDLE = range(4)
OLD, NEW = (
    "the secret of yesterday, long enough for Django's check",
    "the secret of today, long enough for Django's check",
)


def _with(**settings: object) -> dict[str, str]:
    return {"SITE_SECRET_KEY": OLD, "SITE_MCP": json.dumps({"DRAIN_SECONDS": 1, **settings})}


@pytest.fixture(scope="module")
def site(programs: None) -> Iterator[Site]:
    """Run nodes that differ, on one Redis."""
    rotated = {"SITE_SECRET_KEY": NEW, "SITE_SECRET_KEY_FALLBACKS": json.dumps([OLD])}
    variables = [
        _with(),
        {**_with(), **rotated},
        _with(REHYDRATE=False),
        _with(SESSION_TTL_SECONDS=1),
    ]
    with Site(*["uvicorn"] * len(variables), variables=variables, store="redis") as site:
        yield site


@asynccontextmanager
async def opened(site: Site, number: int) -> AsyncIterator[Client]:
    """Open a session at one of the nodes."""
    async with site.client("ann") as client:
        await client.initialize(port=site.ports[number])
        yield client


async def status(site: Site, client: Client, number: int) -> int:
    """Return how a node answers the session."""
    return (await client.call("add", {"a": 1, "b": 1}, port=site.ports[number])).status


def empty(site: Site) -> None:
    """Empty Redis."""
    site.redis.ask("FLUSHALL")


async def test_both_keys_open_ids_while_they_rotate(site: Site) -> None:
    """An id of the old key is opened after rotation; one of the new key by those that have it."""
    async with opened(site, PLAIN) as old, opened(site, ROTATED) as new:
        assert await status(site, new, PLAIN) == 200  # the record is there
        empty(site)
        assert await status(site, old, ROTATED) == 200
        assert await status(site, new, PLAIN) == 404
        assert await status(site, new, ROTATED) == 200


async def test_rehydration_can_be_forbidden(site: Site) -> None:
    """Such a node neither rebuilds a session nor makes ids that say anything."""
    async with opened(site, PLAIN) as client, opened(site, STRICT) as strict:
        assert await status(site, client, STRICT) == 200
        assert len(strict.session_id) < 60
        empty(site)
        assert await status(site, client, STRICT) == 404
        for number in (STRICT, PLAIN):
            assert await status(site, strict, number) == 404
        assert await status(site, client, PLAIN) == 200


@pytest.mark.parametrize("emptied_before", [True, False])
async def test_idle_session_does_not_come_back(site: Site, emptied_before: bool) -> None:
    if emptied_before:
        empty(site)
    async with opened(site, IDLE) as client, opened(site, IDLE) as busy:
        while site.record_exists(client):
            assert await status(site, busy, IDLE) == 200
            await asyncio.sleep(0.1)
        assert await status(site, client, IDLE) == 404
        assert (await client.get(port=site.ports[IDLE])).status == 404
        assert await status(site, busy, IDLE) == 200
