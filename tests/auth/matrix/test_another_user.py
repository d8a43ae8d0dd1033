"""Somebody else's good credentials in Ann's session: word for word the answer to a session that never was.

Not a byte of the answer, and nothing that the store is asked, tells that there is such a session. Both kinds of ids
are tried: random ones, and those that a lost session can be rebuilt from.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from mcp_transport.domain.session import session_key
from tests.auth.matrix.conftest import Stage, staged
from tests.auth.matrix.entries import IN_SESSIONS, Entry
from tests.auth.matrix.people import People, bearer, signed
from tests.auth.matrix.project import STORES, lose
from tests.auth.matrix.scene import Scene, error, replying, snapshot
from tests.auth.matrix.wrong import OTHERS, lacking
from tests.support.application_servers import ADAPTERS
from tests.support.clock import settle
from tests.support.http.client import open_session
from tests.support.http.messages import Session, rpc
from tests.support.http.request import Request

pytestmark = [pytest.mark.django_db, pytest.mark.asyncio(loop_scope="module")]

NOT_FOUND = "Session not found: it ended, expired or never existed; send initialize without an id"
BOB = bearer(signed("bob"))

adapters = pytest.mark.parametrize("adapter", ADAPTERS)


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(people: People, store: str) -> AsyncIterator[Stage]:
    async with staged(people, "bearer", store) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def scene(stage: Stage, store: str) -> Scene:
    answers = await stage.at_work("signed")
    assert (store == "restoring") == answers.session.id.startswith("."), "that kind of id says what the session is"
    return answers


@dataclass(frozen=True)
class Observed:
    """All that can be seen of an answer, and what the store was asked for it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    asked: list[str]


async def send(stage: Stage, scene: Scene, adapter: str, request: Request) -> Observed:
    await settle()
    scene.store.calls.clear()
    answer = await stage.carrier(adapter).send(request)
    assert not answer.is_stream
    body = await answer.read()
    await settle()
    return Observed(answer.status, answer.lines, body, list(scene.store.calls))


def unknown(session_id: str) -> str:
    """Return an id of the same shape that nobody was given."""
    return session_id.swapcase()


@pytest.mark.parametrize("entry", IN_SESSIONS, ids=str)
@adapters
async def test_session_of_another_is_as_unknown(stage: Stage, scene: Scene, adapter: str, entry: Entry) -> None:
    # Who it is matters to no entry, so that each other one tries one of them.
    others = OTHERS if entry.name == "call" else ("bob-signed", "bob-without-tools-scopes")
    for other in others:
        await try_as(other, stage, scene, adapter, entry)
    stage.leave(scene)


async def try_as(other: str, stage: Stage, scene: Scene, adapter: str, entry: Entry) -> None:
    """Send another's request to Ann's session: nothing tells that there is such a session."""
    request = entry.build(scene).adding(*OTHERS[other](stage.people))
    name, session_id = next(line for line in request.headers if line[0] == "MCP-Session-Id")
    before = await snapshot()
    hers = await send(stage, scene, adapter, request)
    nobodys = await send(stage, scene, adapter, request.setting(name, unknown(session_id)))
    assert hers == nobodys
    assert await snapshot() == before
    # Whoever may not use a tool is told so before anybody looks for the session.
    lacks = lacking(*entry.needs) if other == "bob-without-tools-scopes" and entry.needs else None
    status, message = (lacks.status, lacks.message) if lacks else (404, NOT_FOUND)
    assert hers.status == status
    assert json.loads(hers.body) == error(-32600, message, entry.request_id(request))
    assert not {"mcp-session-id", "set-cookie"} & {known.lower() for known, _ in hers.headers}
    assert len(hers.asked) == (0 if lacks else len(set(hers.asked))), "each thing once"


# -- in a session of his own -----------------------------------------------------------------------------

About = Callable[[Scene, Session, bool], Request]
ABOUT: dict[str, About] = {
    "resume": lambda scene, bobs, hers: bobs.get(scene.first_event if hers else f"{'0' * 16}-1"),
    "reply": lambda scene, bobs, hers: replying(bobs, scene.question if hers else f"{scene.question[:-4]}0000"),
    "cancel": lambda scene, bobs, hers: bobs.notify("notifications/cancelled", {"requestId": 1 if hers else 99}),
}
"""What Bob can send to a session of his own that is about something of Ann's, or about nothing."""


@pytest.mark.parametrize("about", ABOUT)
@adapters
async def test_nothing_of_anns_is_reached_from_a_session_of_bobs(
    stage: Stage, scene: Scene, adapter: str, about: str
) -> None:
    bobs = await open_session(stage.carrier("mounted"), *BOB)
    before = await anns_part(scene)
    hers, nobodys = [await send(stage, scene, adapter, ABOUT[about](scene, bobs, which)) for which in (True, False)]
    assert hers == nobodys
    assert hers.status == (202 if about == "cancel" else 400)
    assert await anns_part(scene) == before
    stage.leave(scene)


async def anns_part(scene: Scene) -> dict[str, Any]:
    """Return what the endpoint and its store know of Ann's first session, and what her tools did."""
    everything = await snapshot()
    of_key = {name: everything[name][scene.key] for name in ("records", "local")}
    return of_key | {name: everything[name] for name in ("ran", "cancelled", "calls", "streams", "questions")}


# -- a session that the store has lost -------------------------------------------------------------------


@adapters
async def test_lost_session_comes_back_for_its_owner_alone(
    stage: Stage, scene: Scene, store: str, adapter: str
) -> None:
    anns = await open_session(stage.carrier("mounted"), *scene.credentials)
    ping = Session(anns.id).post(rpc("ping"))
    await settle()
    lose(scene.store, session_key(anns.id))
    bobs, nobodys = [
        await send(stage, scene, adapter, request.adding(*BOB))
        for request in (ping, ping.setting("MCP-Session-Id", unknown(anns.id)))
    ]
    assert (bobs, bobs.status) == (nobodys, 404)
    back = await send(stage, scene, adapter, ping.adding(*scene.credentials))
    assert back.status == (200 if store == "restoring" else 404)
    stage.leave(scene)
