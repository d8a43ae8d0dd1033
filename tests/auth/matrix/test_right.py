"""Right credentials: they work at every entry, and what was begun goes on after Ann has got new ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.auth.matrix.conftest import Stage, staged
from tests.auth.matrix.entries import ENTRIES, Entry
from tests.auth.matrix.people import People, anns
from tests.support.application_servers import ADAPTERS

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

CHANGES = [
    *(("bearer", kind, kind + again) for kind in ("signed", "personal", "opaque") for again in ("", "-again")),
    ("local", "cookie", "cookie"),
    ("local", "cookie", "cookie-again"),
    ("local", "rest", "rest"),
    # A session is its user's, whatever has proved that it is she.
    ("local", "cookie", "rest"),
    ("local", "rest", "cookie"),
]
"""The table of settings, what Ann has begun with, and what she goes on with."""

ANN_HAS = {"bearer": "signed", "local": "cookie"}


@pytest_asyncio.fixture
async def stage(people: People, table: str) -> AsyncIterator[Stage]:
    async with staged(people, table) as made:
        yield made


@pytest.mark.parametrize("table", ANN_HAS)
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_every_entry_works(stage: Stage, adapter: str, entry: Entry, table: str) -> None:
    scene = await stage.begin(ANN_HAS[table])
    answer = await stage.carrier(adapter).send(entry.build(scene).adding(*scene.credentials))
    assert answer.status == entry.status, await answer.read()


@pytest.mark.parametrize(("table", "begun", "goes_on"), CHANGES, ids=[f"{old}-then-{new}" for _, old, new in CHANGES])
async def test_all_that_was_begun_goes_on(stage: Stage, begun: str, goes_on: str) -> None:
    scene = await stage.begin(begun)
    scene.credentials = anns(stage.people, goes_on)
    await scene.goes_on()
