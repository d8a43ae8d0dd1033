"""Conversations that every adapter and every server must carry alike, as a table of coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.adapters.refusals import ECHO, SINGLES, Single
from tests.support.http.answer import Answer
from tests.support.http.carrier import Carrier
from tests.support.http.client import open_session, text
from tests.support.http.messages import INITIALIZE, call, fresh, post, rpc
from tests.support.http.request import HOST, Request

Play = Callable[[Carrier], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A conversation, and what it needs of its carrier."""

    name: str
    play: Play
    streams: bool = True
    """Is an answer sent piece by piece? WSGI cannot."""
    connection: bool = False
    """Does it matter what travels on one connection? In-process carriers have none."""


EXCHANGES: list[Exchange] = []


def exchange(*, streams: bool = True, connection: bool = False) -> Callable[[Play], Play]:
    """Add a conversation to the table."""

    def add(play: Play) -> Play:
        EXCHANGES.append(Exchange(play.__name__, play, streams, connection))
        return play

    return add


async def play_single(carrier: Carrier, single: Single) -> None:
    """Send one request and compare its answer with what is expected."""
    answer = await carrier.send(single.request)
    body = await answer.read()
    assert answer.status == single.status, (answer.headers, body)
    for name, value in single.headers:
        found = answer.header(name) or ""
        assert value in found.split(", ") if name == "Vary" else value == found, (name, found)
    if single.code is not None:
        assert (await answer.json())["error"]["code"] == single.code
    if answer.status == 204:
        assert (body, answer.header("content-type")) == (b"", None)
    if single.request.method == "HEAD":
        assert body == b""


# -- one answer --------------------------------------------------------------------------------------


@exchange(streams=False)
async def initialize_opens_a_session(carrier: Carrier) -> None:
    answer = await carrier.send(post(INITIALIZE))
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    assert answer.header("cache-control") == "no-store"
    assert (await answer.json())["result"]["serverInfo"]["name"] == "site"
    assert len(answer.header("mcp-session-id") or "") >= 32


@exchange(streams=False)
async def call_is_answered_with_json(carrier: Carrier) -> None:
    session = await open_session(carrier)
    for request in (session.call("add", a=2, b=3), call("add", a=2, b=3)):
        answer = await carrier.send(request)
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert await answer.text() == "5"
    assert answer.header("mcp-session-id") is None


@exchange(streams=False)
async def session_state_lasts_from_call_to_call(carrier: Carrier) -> None:
    session, other = await open_session(carrier), await open_session(carrier)
    assert await text(carrier, session.call("remember", value="tea")) == "kept"
    assert await text(carrier, session.call("recall")) == "tea"
    assert await text(carrier, other.call("recall")) == "nothing"


@exchange(streams=False)
async def notification_is_accepted_without_a_body(carrier: Carrier) -> None:
    session = await open_session(carrier)
    answer = await carrier.send(session.notify("notifications/roots/list_changed"))
    assert (answer.status, await answer.read()) == (202, b"")
    assert answer.header("content-type") is None


@exchange(streams=False)
async def deleted_session_is_unknown(carrier: Carrier) -> None:
    session = await open_session(carrier)
    answer = await carrier.send(session.delete())
    assert (answer.status, await answer.read()) == (204, b"")
    assert (await carrier.send(session.call("echo", text="x"))).status == 404
    assert (await carrier.send(session.delete())).status == 404


@exchange(streams=False)
async def header_names_have_no_case_and_values_no_blanks_around(carrier: Carrier) -> None:
    odd = tuple(
        ("".join(char.upper() if at % 2 else char.lower() for at, char in enumerate(name)), f" \t{value} \t ")
        for name, value in ECHO.headers
        if name != "Host"
    )
    assert await text(carrier, Request(headers=(HOST, *odd), body=ECHO.body)) == "x"
    session = await open_session(carrier)
    spaced = session.call("echo", text="y").setting("mcp-SESSION-id", f"  {session.id}\t")
    assert await text(carrier, spaced) == "y"


@exchange(streams=False)
async def tools_see_the_headers_and_the_body_as_they_were_sent(carrier: Carrier) -> None:
    assert await text(carrier, call("header", name="x-color").adding(("X-Color", "red"))) == "red"
    strange = "\u2028 \x00 \U0001f375 \r\n\r\n data: 0\r\n" * 20
    assert await text(carrier, call("echo", text=strange)) == strange
    assert await text(carrier, call("whoami")) == "nobody"


# -- streams -----------------------------------------------------------------------------------------


def _is_a_stream(answer: Answer) -> None:
    assert (answer.status, answer.header("content-type")) == (200, "text/event-stream; charset=utf-8")
    assert answer.header("cache-control") == "no-cache, no-transform"
    assert answer.header("x-accel-buffering") == "no"
    assert answer.header("content-length") is None


async def _steps(carrier: Carrier, answer: Answer, gate: str, first: int, last: int) -> None:
    """Read progress; each step but the first is taken only now, so none can have been kept back."""
    for step in range(first, last + 1):
        assert (await answer.message())["params"]["progress"] == step
        assert await text(carrier, call("proceed", gate=gate)) == "open"


@exchange()
async def call_streams_progress_as_it_happens(carrier: Carrier) -> None:
    for session in (await open_session(carrier), None):
        gate = fresh()
        request = session.call("count", steps=3, gate=gate) if session else call("count", steps=3, gate=gate)
        answer = await carrier.send(request)
        _is_a_stream(answer)
        if session:
            primer = await answer.frame()
            assert primer is not None and primer.id and primer.data == ""
        await _steps(carrier, answer, gate, 1, 3)
        assert await answer.text() == "counted"
        assert await answer.frame() is None


@exchange()
async def get_stream_delivers_changes(carrier: Carrier) -> None:
    session = await open_session(carrier)
    stream = await carrier.send(session.get())
    _is_a_stream(stream)
    await stream.frame()
    for _ in range(2):
        assert await text(carrier, session.call("announce")) == "announced"
        assert (await stream.message())["method"] == "notifications/tools/list_changed"


@exchange()
async def delete_ends_the_get_stream(carrier: Carrier) -> None:
    session = await open_session(carrier)
    stream = await carrier.send(session.get())
    await stream.frame()
    assert (await carrier.send(session.delete())).status == 204
    assert await stream.event() is None


@exchange()
async def broken_stream_is_resumed_by_last_event_id(carrier: Carrier) -> None:
    session, gate = await open_session(carrier), fresh()
    answer = await carrier.send(session.call("count", steps=3, gate=gate))
    first = await answer.event()
    assert first is not None
    await answer.close()
    assert await text(carrier, call("proceed", gate=gate)) == "open"
    resumed = await carrier.send(session.get(first.id))
    _is_a_stream(resumed)
    await _steps(carrier, resumed, gate, 2, 3)
    assert await resumed.text() == "counted"
    assert await resumed.frame() is None


@exchange()
async def two_streams_of_a_session_do_not_mix(carrier: Carrier) -> None:
    session, left, right = await open_session(carrier), fresh(), fresh()
    standing = await carrier.send(session.get())
    answers = [await carrier.send(session.call("count", steps=2, gate=gate)) for gate in (left, right)]
    for step in (1, 2):
        for answer, gate in zip(answers, (left, right), strict=True):
            await _steps(carrier, answer, gate, step, step)
    outcomes = [await answer.outcome() for answer in answers]
    assert [outcome["id"] for outcome in outcomes] == [1, 2]
    assert await text(carrier, session.call("announce")) == "announced"
    assert (await standing.message())["method"] == "notifications/tools/list_changed"


@exchange()
async def elicitation_goes_round(carrier: Carrier) -> None:
    session = await open_session(carrier)
    answer = await carrier.send(session.call("ask"))
    question = await answer.message()
    assert (question["method"], question["params"]["message"]) == ("elicitation/create", "Who?")
    reply = session.reply(question["id"], {"action": "accept", "content": {"name": "Ann"}})
    assert (await carrier.send(reply)).status == 202
    assert await answer.text() == "accept Ann"


# -- leaving -----------------------------------------------------------------------------------------


async def _starts(carrier: Carrier, request: Request) -> Answer:
    answer = await carrier.send(request)
    assert (await answer.message())["method"] == "notifications/progress"
    return answer


async def _happened(carrier: Carrier, name: str, until: str) -> list[str]:
    answer = await carrier.send(call("journal", name=name, until=until))
    events: list[str] = (await answer.outcome())["result"]["structuredContent"]["result"]
    return events


@exchange()
async def leaving_a_sessionless_stream_cancels_its_handler(carrier: Carrier) -> None:
    name = fresh()
    answer = await _starts(carrier, call("slow", name=name))
    await answer.close()
    assert await _happened(carrier, name, "cancelled") == ["cancelled", "started"]


@exchange()
async def leaving_before_the_answer_begins_cancels_a_sessionless_handler(carrier: Carrier) -> None:
    name = fresh()
    waiting = asyncio.ensure_future(carrier.send(call("silent", name=name)))
    assert await _happened(carrier, name, "started") == ["started"]
    await carrier.abandon(waiting)
    assert await _happened(carrier, name, "cancelled") == ["cancelled", "started"]


@exchange()
async def leaving_a_session_call_leaves_its_handler_alone(carrier: Carrier) -> None:
    for is_silent in (False, True):
        session, name, later = await open_session(carrier), fresh(), fresh()
        if is_silent:  # its answer has not begun
            waiting = asyncio.ensure_future(carrier.send(session.call("silent", name=name)))
            assert await _happened(carrier, name, "started") == ["started"]
            await carrier.abandon(waiting)
        else:
            await (await _starts(carrier, session.call("slow", name=name))).close()
        # The server has dealt with the first leaving when it has dealt with a later one.
        await (await _starts(carrier, call("slow", name=later))).close()
        assert "cancelled" in await _happened(carrier, later, "cancelled")
        assert await text(carrier, call("proceed", gate=name)) == "open"
        assert await _happened(carrier, name, "finished") == ["finished", "started"]


@exchange()
async def leaving_a_get_stream_lets_it_go(carrier: Carrier) -> None:
    session = await open_session(carrier)
    stream = await carrier.send(session.get())
    await stream.frame()
    assert await text(carrier, call("held", session_id=session.id)) == "1"
    await stream.close()
    async with asyncio.timeout(60):
        while await text(carrier, call("held", session_id=session.id)) != "0":
            continue  # each look is a request: the server has had its turn


# -- one connection ----------------------------------------------------------------------------------


@exchange(streams=False, connection=True)
async def connection_is_kept_for_further_requests(carrier: Carrier) -> None:
    line = await carrier.connect()
    health = Request(method="GET", path="/healthz", headers=(HOST,))
    wanted = [(ECHO, 200), (SINGLES["PUT"].request, 405), (SINGLES["HEAD"].request, 405), (health, 200)]
    wanted += [(SINGLES["preflight"].request, 204), (post(rpc("notifications/x", id=None)), 400), (ECHO, 200)]
    for request, status in wanted:
        await line.write(request.encoded())
        answer = await line.answer(request.method)
        assert (answer.status, request.method) == (status, request.method), await answer.read()
        await answer.read()


@exchange(connection=True)
async def connection_is_kept_after_a_stream(carrier: Carrier) -> None:
    session = await open_session(carrier)
    line = await carrier.connect()
    for request in (session.call("chatter"), call("chatter"), ECHO):
        await line.write(request.encoded())
        answer = await line.answer("POST")
        assert await answer.text() in ("said", "x")
        await answer.read()


@exchange(streams=False, connection=True)
async def pipelined_requests_are_answered_in_order(carrier: Carrier) -> None:
    line = await carrier.connect()
    await line.write(b"".join(call("echo", text=word).encoded() for word in ("one", "two", "three")))
    answers = []
    for _ in range(3):
        answer = await line.answer("POST")
        answers.append(await answer.text())
    assert answers == ["one", "two", "three"]
