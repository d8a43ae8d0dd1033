"""Every entry x every kind of wrong bearer token: the named status, the named challenge, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.auth.matrix.attack import Cell, attack, cells
from tests.auth.matrix.conftest import Stage, staged
from tests.auth.matrix.entries import ENTRIES, Entry
from tests.auth.matrix.people import People
from tests.auth.matrix.wrong import EVERYWHERE, LACKS_FOR_TOOLS, Wrong, lacking
from tests.support.application_servers import ADAPTERS

pytestmark = [pytest.mark.django_db, pytest.mark.asyncio(loop_scope="module")]

ALL = [(entry, wrong) for entry in ENTRIES for wrong in EVERYWHERE]
TOOLS = [
    (entry, replace(wrong, refusal=lacking(*entry.needs), reads_body=True))
    for entry in ENTRIES
    for wrong in LACKS_FOR_TOOLS
    if entry.needs
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(people: People) -> AsyncIterator[Stage]:
    async with staged(people, "bearer") as made:
        yield made


@cells([*ALL, *TOOLS])
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_refused(
    stage: Stage, caplog: pytest.LogCaptureFixture, adapter: str, entry: Entry, wrong: Wrong
) -> None:
    await attack(stage, caplog, Cell(adapter, entry, wrong, ann="signed"))
