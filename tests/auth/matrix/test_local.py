"""Every entry x wrong cookies and wrong tokens of REST framework, where the project asks nobody but itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.auth.matrix.attack import Cell, attack, cells
from tests.auth.matrix.conftest import Stage, staged
from tests.auth.matrix.entries import ENTRIES, Entry
from tests.auth.matrix.people import People
from tests.auth.matrix.wrong import FORGED, LOCAL, Wrong
from tests.support.application_servers import ADAPTERS

pytestmark = [pytest.mark.django_db, pytest.mark.asyncio(loop_scope="module")]

READING = ("stream", "resume")
"""GET, which may come from another site: a browser lets its page read nothing of it."""

ALL = [(entry, wrong) for entry in ENTRIES for wrong in LOCAL]
CROSS_SITE = [(entry, FORGED) for entry in ENTRIES if entry.name not in READING]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(people: People) -> AsyncIterator[Stage]:
    async with staged(people, "local") as made:
        yield made


@cells([*ALL, *CROSS_SITE])
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_refused(
    stage: Stage, caplog: pytest.LogCaptureFixture, adapter: str, entry: Entry, wrong: Wrong
) -> None:
    await attack(stage, caplog, Cell(adapter, entry, wrong, ann="cookie"))
