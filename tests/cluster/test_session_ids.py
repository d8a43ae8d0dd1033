"""What an id is worth at nodes with other settings: rotated keys, foreign keys, REHYDRATE off, small limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site

PLAIN, ROTATED, FOREIGN, STRICT, IDLE, BRIEF = range(6)
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
        {**_with(), "SITE_SECRET_KEY": "the secret of somebody else, long enough for Django's check"},
        _with(REHYDRATE=False),
        _with(SESSION_TTL_SECONDS=1),
        _with(SESSION_MAX_AGE_SECONDS=1),
    ]
    with Site(*["uvicorn"] * len(variables), variables=variables) as site:
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


async def test_id_sealed_with_the_old_key_is_opened_after_rotation(site: Site) -> None:
    async with opened(site, PLAIN) as client:
        empty(site)
        assert await status(site, client, ROTATED) == 200


async def test_id_sealed_with_the_new_key_is_opened_by_who_has_it(site: Site) -> None:
    async with opened(site, ROTATED) as client:
        assert await status(site, client, PLAIN) == 200  # the record is there
        empty(site)
        assert await status(site, client, PLAIN) == 404
        assert await status(site, client, ROTATED) == 200


@pytest.mark.parametrize(("maker", "judge"), [(FOREIGN, PLAIN), (FOREIGN, ROTATED), (PLAIN, FOREIGN)])
async def test_id_sealed_with_a_foreign_key_is_unknown(site: Site, maker: int, judge: int) -> None:
    async with opened(site, maker) as client:
        empty(site)
        assert await status(site, client, judge) == 404
        assert (await client.get(port=site.ports[judge])).status == 404
        assert (await client.delete(port=site.ports[judge])).status == 404
        assert await status(site, client, maker) == 200


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


async def test_session_past_its_absolute_end_does_not_come_back(site: Site) -> None:
    async with opened(site, BRIEF) as client:
        while site.record_exists(client):
            await status(site, client, BRIEF)  # however busy it is
            await asyncio.sleep(0.1)
        for number in (BRIEF, PLAIN):
            assert await status(site, client, number) == 404
        empty(site)
        for number in (BRIEF, PLAIN):
            assert await status(site, client, number) == 404


async def test_tampered_id_is_not_opened(site: Site) -> None:
    async with opened(site, PLAIN) as client:
        real = client.session_id
        empty(site)
        for place in (1, 20, len(real) // 2, -2):
            changed = [*real]
            changed[place] = "A" if changed[place] != "A" else "B"
            client.session_id = "".join(changed)
            assert await status(site, client, PLAIN) == 404
        client.session_id = real
        assert await status(site, client, PLAIN) == 200


async def test_ids_are_short_and_visible(site: Site) -> None:
    capabilities = {
        "elicitation": {"form": {}, "url": {}},
        "sampling": {"tools": {}},
        "experimental": {"x" * 900: {}},
    }
    async with site.client("ann") as client:
        for number in range(len(site.nodes)):
            client.session_id = ""
            await client.initialize(port=site.ports[number], capabilities=capabilities)
            assert len(client.session_id) < 512
            assert all(0x21 <= ord(character) <= 0x7E for character in client.session_id)
