"""One cell: a wrong request is sent, its answer compared, and Ann's things are looked after."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest

from tests.auth.matrix.conftest import Stage
from tests.auth.matrix.entries import Entry, is_sessionless
from tests.auth.matrix.people import Lines, signed
from tests.auth.matrix.scene import snapshot
from tests.auth.matrix.wrong import Wrong
from tests.support.wire import Answer

DROPS_COOKIE = 'sessionid=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; SameSite=Lax'
"""What Django's SessionMiddleware tells a browser whose session it does not know."""


def cells(pairs: Iterable[tuple[Entry, Wrong]]) -> pytest.MarkDecorator:
    """Parametrise with cells, each named after its entry and what is wrong."""
    chosen = list(pairs)
    return pytest.mark.parametrize(("entry", "wrong"), chosen, ids=[f"{entry}-{wrong}" for entry, wrong in chosen])


@dataclass(frozen=True)
class Cell:
    """What a cell is about: the adapter, the entry, what is wrong, and what Ann has begun with."""

    adapter: str
    entry: Entry
    wrong: Wrong
    ann: str


async def attack(stage: Stage, caplog: pytest.LogCaptureFixture, cell: Cell) -> None:
    """Send a wrong request: it gets what the table says, and nothing has changed."""
    adapter, entry, wrong = cell.adapter, cell.entry, cell.wrong
    scene = await stage.at_work(cell.ann)
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


def error(code: int, message: str, request_id: int | None) -> dict[str, object]:
    """Return the whole body of a refusal."""
    body: dict[str, object] = {"jsonrpc": "2.0", "error": {"code": code, "message": message}}
    return body if request_id is None else {**body, "id": request_id}


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
    assert sorted((name.lower(), value) for name, value in answer.headers) == sorted(expected)


def told(caplog: pytest.LogCaptureFixture, lines: Lines) -> list[str]:
    """Return what the package has logged that has a secret in it."""
    secrets = [word for _, value in lines for word in value.split() if len(word) > 20]
    texts = [record.getMessage() for record in caplog.records if record.name.startswith("mcp_transport")]
    return [text for text in texts if any(secret in text for secret in secrets)]
