"""A call's stream: event ids, and resuming after any of them, here and on another node, without loss or repeat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, Frame, SessionClient, silent, text_of
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate

REVISIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]
COUNTED = [1, 2, 3, 4, "counted"]
Nodes = tuple[Endpoint, Endpoint]


async def read(answer: Answer, count: int) -> list[Frame]:
    return [await answer.event() for _ in range(count)]


async def rest(answer: Answer) -> list[Frame]:
    """Read to the end; return what carries a message."""
    found = []
    while (frame := await answer.frame()) is not None:
        if frame.data:
            found.append(frame)
    return found


def told(frames: list[Frame]) -> list[Any]:
    """Return the progress, the log text or the tool's text of each message."""
    found = []
    for message in (frame.message for frame in frames if frame.data):
        params = message.get("params", {})
        found.append(params["progress"] if "progress" in params else params.get("data") or text_of(message))
    return found


def place(frame: Frame) -> tuple[str, int]:
    """Return the stream and the number that an event's id names."""
    stream, _, number = str(frame.id).rpartition("-")
    return stream, int(number)


@pytest.fixture(params=["here", "there"])
def then(request: pytest.FixtureRequest, nodes: Nodes) -> dict[str, Any]:
    """Where a stream is resumed."""
    return {"endpoint": nodes[request.param == "there"]}


# -- ids ----------------------------------------------------------------------------------------------


async def test_a_stream_of_2025_11_25_begins_with_a_priming_event(client: SessionClient) -> None:
    first = await (await client.call("count", {"steps": 1})).event()
    assert place(first)[1] == 0
    assert (first.data, first.retry) == ("", 1000)


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18"])
async def test_older_revisions_get_no_priming_event(endpoint: Endpoint, gate: Gate, version: str) -> None:
    client = await opened(endpoint, version=version)
    gate.open.set()
    frames = [await (await client.get()).event(), *await read(await client.call("count", {"steps": 1}), 4)]
    assert [frame for frame in frames if frame.id and not frame.data] == []
    assert [frame.retry for frame in frames] == [None] * 5
    assert frames[0].comment is not None


@pytest.mark.parametrize("version", REVISIONS)
async def test_event_ids_are_contiguous_and_name_their_stream(endpoint: Endpoint, gate: Gate, version: str) -> None:
    client = await opened(endpoint, version=version)
    gate.open.set()
    streams = set()
    for _ in range(2):
        places = [place(frame) for frame in await rest(await client.call("count", {"steps": 3}))]
        assert [number for _, number in places] == [1, 2, 3, 4, 5]
        streams |= {stream for stream, _ in places}
    assert len(streams) == 2, "ids must be unique in the session"


# -- resuming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(6))
async def test_a_finished_call_is_resumed_after_any_event(
    here: SessionClient, then: dict[str, Any], gate: Gate, cut: int
) -> None:
    gate.open.set()
    answer = await here.call("count", {"steps": 3})
    before = await read(answer, cut + 1)
    answer.close()
    await settle()
    resumed = await here.get(before[-1].id, **then)
    if cut == 5:
        assert (resumed.status, resumed.body) == (204, b""), "nothing is left"
        return
    after = await rest(resumed)
    assert told([*before, *after]) == COUNTED
    assert [place(frame)[1] for frame in after] == list(range(cut + 1, 6))


@pytest.mark.parametrize("ended", ["answered", "cancelled"])
async def test_an_ended_stream_is_204_before_the_store_has_its_end(
    here: SessionClient, store: FlakyBackend, gate: Gate, ended: str
) -> None:
    answer = await here.call("count", {"steps": 1}, id=1)
    last = (await read(answer, 2))[-1]
    await settle()
    store.hold("append")
    if ended == "answered":
        gate.open.set()
    else:
        await here.notify("notifications/cancelled", {"requestId": 1})
    for frame in await rest(answer):
        last = frame
    await settle()
    assert "append" in store.calls, "the store is being told"
    gone = await here.get(last.id)
    assert (gone.status, gone.body) == (204, b"")
    unknown = await here.get(f"{place(last)[0]}-99")
    assert unknown.status != 204, "no event of that stream"
    store.held["append"].set()


@pytest.mark.parametrize("version", REVISIONS[:2])
async def test_older_revisions_resume_as_well(endpoint: Endpoint, gate: Gate, version: str) -> None:
    client = await opened(endpoint, version=version)
    gate.open.set()
    answer = await client.call("count", {"steps": 3})
    before = await read(answer, 3)
    answer.close()
    await settle()
    assert told([*before, *await rest(await client.get(before[-1].id))]) == COUNTED


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "the old socket seems open"])
@pytest.mark.parametrize("read_before", range(1, 5))
async def test_a_running_call_is_resumed_after_any_event(
    here: SessionClient, then: dict[str, Any], gate: Gate, read_before: int, is_cut: bool
) -> None:
    answer = await here.call("count", {"steps": 3})
    before = await read(answer, read_before)
    if is_cut:
        answer.close()
    await settle()
    resumed = await here.get(before[-1].id, **then)
    assert (await resumed.event()).id == before[-1].id, "its priming event"
    gate.open.set()
    assert told([*before, *await rest(resumed)]) == COUNTED
    if not is_cut:
        assert "counted" not in told(await rest(answer)), "two sockets must not both get the answer"


async def test_a_stream_wanders_from_node_to_node(here: SessionClient, there: dict[str, Any], gate: Gate) -> None:
    answer = await here.call("burst", {"steps": 8, "pause": True})
    last, seen = await answer.event(), list[Frame]()
    answer.close()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    for options in (there, {}, {}, there):
        answer = await here.get(last.id, **options)
        await answer.frame()
        seen += await read(answer, 2)
        last = seen[-1]
        answer.close()
        await settle()
    answer = await here.get(last.id, **there)
    gate.open.set()
    assert told([*seen, *await rest(answer)]) == [*range(9), "burst"]


async def test_resuming_replays_that_stream_alone(client: SessionClient, gate: Gate) -> None:
    gate.open.set()
    await client.call("whisper", {"text": "elsewhere"})
    answer = await client.call("count", {"steps": 1})
    first = await answer.event()
    answer.close()
    assert told(await rest(await client.get(first.id))) == [1, 2, "counted"]


async def test_an_event_of_another_session_is_400(client: SessionClient, gate: Gate) -> None:
    gate.open.set()
    event = await (await (await opened(client.endpoint)).call("count", {"steps": 1})).event()
    answer = await client.get(event.id)
    assert (answer.status, answer.error_code) == (400, -32600)


async def test_a_finished_stream_is_kept_for_a_while(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    client = await opened(build_endpoint(stream_keep=300))
    gate.open.set()
    answer = await client.call("count", {"steps": 1})
    first = await answer.event()
    answer.close()
    await settle()
    await clock.advance(300)
    assert told(await rest(await client.get(first.id))) == [1, 2, "counted"]
    await clock.advance(1)
    gone = await client.get(first.id)
    assert (gone.status, gone.error_code) == (400, -32600)


async def test_a_log_that_was_too_short_tells_the_loss(build_endpoint: BuildEndpoint, gate: Gate) -> None:
    client = await opened(build_endpoint(stream_max_events=3))
    answer = await client.call("count", {"steps": 10})
    first = await answer.event()
    answer.close()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    notice, *kept = await rest(await client.get(first.id))
    assert place(notice) == (place(first)[0], 9), "behind what is lost"
    assert (notice.message["method"], notice.message["params"]["level"]) == ("notifications/message", "warning")
    assert "9 messages" in notice.message["params"]["data"]
    assert told(kept) == [10, 11, "counted"]


@pytest.mark.parametrize("beyond", [11, 10**9])
async def test_an_event_id_beyond_the_end_of_a_running_stream_ends_with_it(
    client: SessionClient, clock: FakeClock, gate: Gate, beyond: int
) -> None:
    answer = await client.call("count", {"steps": 1})
    resumed = await client.get(f"{place(await answer.event())[0]}-{beyond}")
    gate.open.set()
    await gate.wait(gate.left)
    reading = asyncio.ensure_future(resumed.messages())
    await clock.advance(15)
    async with asyncio.timeout(60):
        assert await reading == []


async def test_a_call_cut_off_by_a_stopping_node_ends_with_an_error_on_the_other(
    here: SessionClient, there: dict[str, Any], gate: Gate
) -> None:
    answer = await here.call("count", {"steps": 1}, id="cut")
    first = await answer.event()
    await gate.wait(gate.entered)
    await settle()
    await here.endpoint.pool.stop()
    assert not any("result" in message for message in await answer.messages())
    *_, last = await (await here.get(first.id, **there)).messages()
    assert last["id"] == "cut"
    assert "error" in last, "the client must not be left without an answer"


async def test_a_wake_up_that_fails_does_not_keep_the_request_in_flight(
    here: SessionClient, there: dict[str, Any], store: FlakyBackend, clock: FakeClock, gate: Gate
) -> None:
    answer = await here.call("count", {"steps": 1}, id=7)
    first = await answer.event()
    await gate.wait(gate.entered)
    await settle()
    resumed = await here.get(first.id, **there)
    store.away = {"send"}
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    store.away = set()
    reading = asyncio.ensure_future(resumed.text())
    await clock.advance(15)  # the other node looks by itself
    async with asyncio.timeout(60):
        assert await reading == "counted"
    assert set(await left_behind(here.endpoint)) == {"sessions"}


# -- polling, and leaving -----------------------------------------------------------------------------


async def test_a_handler_closes_the_socket_before_it_said_anything(client: SessionClient, gate: Gate) -> None:
    answer = await client.call("poll")
    only = await answer.event()
    assert (only.data, only.retry) == ("", 1000)
    assert await answer.frame() is None
    gate.open.set()
    assert told(await rest(await client.get(only.id))) == ["polled"]


async def test_a_handler_closes_the_socket_after_an_event(client: SessionClient, gate: Gate) -> None:
    answer = await client.call("poll", {"speak": True})
    _, spoken = await read(answer, 2)
    gate.open.set()
    assert await answer.frame() is None
    await gate.wait(gate.entered)
    resumed = await client.get(spoken.id)
    gate.open.set()
    assert told(await rest(resumed)) == ["polled"]


@pytest.mark.parametrize("version", REVISIONS[:2])
async def test_older_revisions_are_not_polled(endpoint: Endpoint, clock: FakeClock, gate: Gate, version: str) -> None:
    client = await opened(endpoint, version=version)
    answer = await silent(clock, gate.entered, client.call("poll"))
    gate.open.set()
    assert told(await rest(answer)) == ["polled"]


async def test_leaving_a_stream_does_not_cancel_its_call(client: SessionClient, clock: FakeClock, gate: Gate) -> None:
    answer = await silent(clock, gate.entered, client.call("blocked"))
    first = await answer.event()
    answer.close()
    await settle()
    assert not gate.left.is_set()
    gate.open.set()
    await gate.wait(gate.left)
    assert not gate.cancelled
    assert told(await rest(await client.get(first.id))) == ["through"]


@pytest.mark.parametrize("kind", ["GET", "POST", "POST read to its end"])
async def test_streams_leave_nothing_behind(client: SessionClient, clock: FakeClock, gate: Gate, kind: str) -> None:
    answer = await (client.get() if kind == "GET" else silent(clock, gate.entered, client.call("blocked")))
    gate.open.set()
    if kind == "POST read to its end":
        await rest(answer)
    else:
        answer.close()
    assert set(await left_behind(client.endpoint)) == {"sessions"}
