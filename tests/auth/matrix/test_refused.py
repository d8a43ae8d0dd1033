"""Wrong credentials at every entry: the named status, the named challenge, and nothing else.

Every entry meets one kind of credentials of each answer, and every kind one entry of each revision: which kind it is
is found out before anybody looks at what is asked for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from tests.auth.matrix.conftest import Stage, staged
from tests.auth.matrix.entries import ENTRIES, Entry, is_sessionless
from tests.auth.matrix.people import Lines, People, signed
from tests.auth.matrix.scene import error, snapshot
from tests.auth.matrix.wrong import EVERYWHERE, FORGED, LACKS_FOR_TOOLS, LOCAL, Wrong, lacking
from tests.support.application_servers import ADAPTERS
from tests.support.http.answer import Answer

pytestmark = [pytest.mark.slow, pytest.mark.django_db, pytest.mark.asyncio(loop_scope="module")]

DROPS_COOKIE = 'sessionid=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; SameSite=Lax'
"""What Django's SessionMiddleware tells a browser whose session it does not know."""


READING = ("stream", "resume")
"""GET, which may come from another site: a browser lets its page read nothing of it."""


@dataclass(frozen=True)
class Cell:
    """What is asked for, and with which credentials, of whom Ann's are trusted."""

    table: str
    entry: Entry
    wrong: Wrong

    def __str__(self) -> str:
        return f"{self.entry}-{self.wrong}"


def cells(table: str, wrongs: tuple[Wrong, ...]) -> list[Cell]:
    """Return every entry with the first kind of each answer, and every kind at two entries."""
    firsts = {wrong.refusal: wrong for wrong in reversed(wrongs)}.values()
    both = (ENTRIES[1], ENTRIES[4])
    return [Cell(table, entry, wrong) for entry in ENTRIES for wrong in wrongs if wrong in firsts or entry in both]


TOOLS = [
    Cell("bearer", entry, replace(wrong, refusal=lacking(*entry.needs), reads_body=True))
    for entry in ENTRIES
    for wrong in LACKS_FOR_TOOLS
    if entry.needs
]
CROSS_SITE = [Cell("local", entry, FORGED) for entry in ENTRIES if entry.name not in READING]
CELLS = [*cells("bearer", EVERYWHERE), *TOOLS, *cells("local", LOCAL), *CROSS_SITE]
ANN_HAS = {"bearer": "signed", "local": "cookie"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ANN_HAS)
async def stage(people: People, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with staged(people, request.param) as made:
        made.table = request.param
        yield made


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_refused(stage: Stage, caplog: pytest.LogCaptureFixture, adapter: str) -> None:
    for cell in CELLS:
        if cell.table == stage.table:
            caplog.clear()
            try:
                await attack(stage, caplog, adapter, cell)
            except AssertionError as fault:
                raise AssertionError(f"{cell} of {cell.table}: {fault}") from fault


async def attack(stage: Stage, caplog: pytest.LogCaptureFixture, adapter: str, cell: Cell) -> None:
    """Send a wrong request: it gets what the table says, and nothing has changed."""
    entry, wrong = cell.entry, cell.wrong
    scene = await stage.at_work(ANN_HAS[cell.table])
    lines, request = wrong.lines(stage.people), entry.build(scene)
    sent = request.adding(*lines)
    if wrong.query:
        sent = replace(sent, path=f"{sent.path}?{wrong.query.format(signed())}")
    before = await snapshot()
    scene.store.calls.clear()
    with caplog.at_level(logging.DEBUG, "mcp_transport"):
        answer = await stage.carrier(adapter).send(sent)
    await check_headers(answer, wrong, adapter)
    code = -32020 if wrong.refusal.status == 400 and is_sessionless(request) else -32600
    # Nobody reads a body before the credentials are found good.
    request_id = entry.request_id(request) if wrong.reads_body else None
    assert json.loads(await answer.read()) == error(code, wrong.refusal.message, request_id)
    assert scene.store.calls == [], "the store is not asked"
    assert await snapshot() == before
    assert told(caplog, lines) == []
    stage.leave(scene)


async def check_headers(answer: Answer, wrong: Wrong, adapter: str) -> None:
    assert answer.status == wrong.refusal.status
    body = await answer.read()
    expected = [
        ("cache-control", "no-store"),
        ("content-length", str(len(body))),
        ("content-type", "application/json"),
        *([("www-authenticate", wrong.refusal.challenge)] if wrong.refusal.challenge else []),
        # By Django's SessionMiddleware, which the mount does without.
        *([("vary", "Cookie")] if adapter == "view" else []),
        *([("set-cookie", DROPS_COOKIE)] if adapter == "view" and wrong.name == "cookie-made-up" else []),
    ]
    assert sorted((name.lower(), value) for name, value in answer.lines) == sorted(expected)


def told(caplog: pytest.LogCaptureFixture, lines: Lines) -> list[str]:
    """Return what the package has logged that has a secret in it."""
    secrets = [word for _, value in lines for word in value.split() if len(word) > 20]
    texts = [record.getMessage() for record in caplog.records if record.name.startswith("mcp_transport")]
    return [text for text in texts if any(secret in text for secret in secrets)]
