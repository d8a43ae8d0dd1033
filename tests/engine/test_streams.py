"""Streams of a session: event ids, resumption, what a cut connection must not lose or repeat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.client import Answer, Frame, SessionClient, later, silent, text_of
from tests.support.clock import settle
from tests.support.stores import left_behind

REVISIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]


async def read(answer: Answer, count: int) -> list[Frame]:
    frames = [await answer.frame() for _ in range(count)]
    assert all(frames)
    return frames  # type: ignore[return-value]


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


async def opened(endpoint: Any, version: str = "2025-11-25") -> SessionClient:
    client = SessionClient(endpoint, version)
    await client.open()
    return client


# -- ids ----------------------------------------------------------------------------------------------


async def test_a_stream_of_2025_11_25_begins_with_a_priming_event(client, gate):
    answer = await client.call("count", {"steps": 1})
    first = await answer.frame()
    assert first.id.endswith("-0")
    assert (first.data, first.retry) == ("", 1000)


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18"])
async def test_older_revisions_get_no_priming_event(endpoint, gate, version):
    client = await opened(endpoint, version)
    gate.open.set()
    frames = [await (await client.get()).frame(), *await read(await client.call("count", {"steps": 1}), 4)]
    assert [frame for frame in frames if frame.id and not frame.data] == []
    assert [frame.retry for frame in frames] == [None] * 5
    assert frames[0].comment is not None


@pytest.mark.parametrize("version", REVISIONS)
async def test_event_ids_are_contiguous_and_name_their_stream(endpoint, gate, version):
    client = await opened(endpoint, version)
    gate.open.set()
    streams = set()
    for _ in range(2):
        frames = await rest(await client.call("count", {"steps": 3}))
        names, numbers = zip(*(frame.id.split("-") for frame in frames), strict=True)
        assert [int(number) for number in numbers] == [1, 2, 3, 4, 5]
        streams |= set(names)
    assert len(streams) == 2, "ids must be unique in the session"


# -- resuming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", REVISIONS)
@pytest.mark.parametrize("cut", range(1, 5))
async def test_a_finished_call_is_resumed_after_any_event(endpoint, gate, version, cut):
    client = await opened(endpoint, version)
    gate.open.set()
    answer = await client.call("count", {"steps": 3})
    before = await read(answer, cut + 1)
    answer.close()
    await settle()
    after = await rest(await client.get(before[-1].id))
    assert told([*before, *after]) == [1, 2, 3, 4, "counted"]
    assert [int(frame.id.split("-")[1]) for frame in after] == list(range(cut + 1, 6))


@pytest.mark.parametrize("cut", range(4))
async def test_a_running_call_is_resumed_after_any_event(client, gate, cut):
    answer = await client.call("count", {"steps": 3})
    before = await read(answer, cut + 1)
    answer.close()
    await settle()
    resumed = await client.get(before[-1].id)
    assert (await resumed.frame()).id == before[-1].id
    gate.open.set()
    assert told([*before, *await rest(resumed)]) == [1, 2, 3, 4, "counted"]


@pytest.mark.parametrize("cut", range(4))
async def test_a_call_is_resumed_while_the_old_socket_still_seems_open(client, gate, cut):
    answer = await client.call("count", {"steps": 3})
    before = await read(answer, cut + 1)
    await settle()
    resumed = await client.get(before[-1].id)
    gate.open.set()
    assert told([*before, *await rest(resumed)]) == [1, 2, 3, 4, "counted"]
    assert "counted" not in told(await rest(answer)), "two sockets must not both get the answer"


async def test_a_stream_may_be_resumed_again_and_again(client, gate):
    answer = await client.call("count", {"steps": 3})
    last, seen = (await answer.frame()).id, []
    for _ in range(3):
        answer.close()
        await settle()
        answer = await client.get(last)
        frames = await read(answer, 2)
        seen += told(frames)
        last = frames[-1].id
    gate.open.set()
    assert [*seen, *told(await rest(answer))] == [1, 2, 3, 4, "counted"]


@pytest.mark.parametrize("cut", range(5))
async def test_the_get_stream_is_resumed_after_any_event(client, cut):
    answer = await client.get()
    for text in "abcd":
        await client.call("whisper", {"text": text})
    before = await read(answer, cut + 1)
    answer.close()
    await settle()
    await client.call("whisper", {"text": "e"})
    resumed = await client.get(before[-1].id)
    after = await read(resumed, 1 + 5 - cut)
    await client.call("whisper", {"text": "f"})
    after += await read(resumed, 1)
    assert told([*before, *after]) == list("abcdef")


async def test_resuming_replays_that_stream_alone(client, gate):
    gate.open.set()
    await client.call("whisper", {"text": "elsewhere"})
    answer = await client.call("count", {"steps": 1})
    first = await answer.frame()
    answer.close()
    assert told(await rest(await client.get(first.id))) == [1, 2, "counted"]


async def test_a_finished_stream_is_kept_for_a_while(build_endpoint, clock, gate):
    client = await opened(build_endpoint(stream_keep=300))
    gate.open.set()
    answer = await client.call("count", {"steps": 1})
    first = await answer.frame()
    answer.close()
    await settle()
    await clock.advance(300)
    assert told(await rest(await client.get(first.id))) == [1, 2, "counted"]
    await clock.advance(1)
    answer = await client.get(first.id)
    assert (answer.status, answer.error_code) == (400, -32600)


async def test_a_log_that_was_too_short_tells_the_loss(build_endpoint, gate):
    client = await opened(build_endpoint(stream_max_events=3))
    answer = await client.call("count", {"steps": 10})
    first = await answer.frame()
    answer.close()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    notice, *kept = await rest(await client.get(first.id))
    assert notice.id == f"{kept[0].id.split('-')[0]}-9", "behind what is lost"
    assert notice.message["method"] == "notifications/message"
    assert notice.message["params"]["level"] == "warning"
    assert "9 messages" in notice.message["params"]["data"]
    assert told(kept) == [10, 11, "counted"]


# -- the GET stream -----------------------------------------------------------------------------------


async def test_a_new_get_supersedes_the_old_one(client):
    first = await client.get()
    await first.frame()
    second = await client.get()
    assert (await first.frame()).id == "g-0-moved"
    assert await first.frame() is None
    await client.call("whisper", {"text": "one"})
    assert told(await read(second, 2)) == ["one"]


async def test_what_one_get_stream_carried_is_not_repeated_on_the_next(client):
    first = await client.get()
    await client.call("whisper", {"text": "one"})
    assert told(await read(first, 2)) == ["one"]
    second = await client.get()
    await client.call("whisper", {"text": "two"})
    assert told(await read(second, 2)) == ["two"], "a message goes on one stream only"


async def test_the_get_stream_keeps_what_came_while_no_socket_was_open(client):
    await client.call("whisper", {"text": "before"})
    first = await client.get()
    assert told(await read(first, 2)) == ["before"]
    first.close()
    await settle()
    await client.call("whisper", {"text": "between"})
    assert told(await read(await client.get(), 2)) == ["between"]


async def test_changes_are_kept_for_a_client_that_is_coming_back(client):
    await client.request("resources/subscribe", {"uri": "test://watched"})
    first = await client.get()
    await first.frame()
    first.close()
    await settle()
    await client.call("announce")
    second = await client.get()
    methods = [frame.message["method"] for frame in (await read(second, 3))[1:]]
    assert methods == ["notifications/tools/list_changed", "notifications/resources/updated"]


async def test_a_calls_messages_stay_off_the_get_stream(client, gate):
    stream = await client.get()
    gate.open.set()
    assert told(await rest(await client.call("count", {"steps": 1}))) == [1, 2, "counted"]
    await client.call("whisper", {"text": "end"})
    assert told(await read(stream, 2)) == ["end"]


# -- polling ------------------------------------------------------------------------------------------


async def test_a_handler_closes_the_socket_before_it_said_anything(client, gate):
    answer = await client.call("poll")
    (only,) = await read(answer, 1)
    assert (only.data, only.retry) == ("", 1000)
    assert await answer.frame() is None
    gate.open.set()
    assert told(await rest(await client.get(only.id))) == ["polled"]


async def test_a_handler_closes_the_socket_after_an_event(client, gate):
    answer = await client.call("poll", {"speak": True})
    _, spoken = await read(answer, 2)
    gate.open.set()
    assert await answer.frame() is None
    await gate.wait(gate.entered)
    resumed = await client.get(spoken.id)
    gate.open.set()
    assert told(await rest(resumed)) == ["polled"]


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18"])
async def test_older_revisions_are_not_polled(endpoint, clock, gate, version):
    client = await opened(endpoint, version)
    answer = await silent(clock, gate.entered, client.call("poll"))
    gate.open.set()
    assert told(await rest(answer)) == ["polled"]


# -- keep-alives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GET", "POST"])
async def test_a_silent_stream_is_kept_alive_from_the_start(client, clock, gate, kind):
    answer = await (client.get() if kind == "GET" else silent(clock, gate.entered, client.call("blocked")))
    await answer.frame()
    for _ in range(3):
        frame = await later(clock, 15, answer.frame())
        assert (frame.comment, frame.id, frame.data) == ("keep-alive", None, None)


async def test_an_open_stream_keeps_its_session_alive_until_the_absolute_end(build_endpoint, clock):
    client = await opened(build_endpoint(session_ttl=20, session_max_age=100))
    answer = await client.get()
    await answer.frame()
    for _ in range(6):
        assert (await later(clock, 15, answer.frame())).comment == "keep-alive"
    assert (await client.request("ping")).status == 200
    assert await later(clock, 15, answer.frame()) is None
    assert (await client.request("ping")).status == 404


# -- leaving ------------------------------------------------------------------------------------------


async def test_leaving_a_stream_does_not_cancel_its_call(client, clock, gate):
    answer = await silent(clock, gate.entered, client.call("blocked"))
    first = await answer.frame()
    answer.close()
    await settle()
    assert not gate.left.is_set()
    gate.open.set()
    await gate.wait(gate.left)
    assert not gate.cancelled
    assert told(await rest(await client.get(first.id))) == ["through"]


@pytest.mark.parametrize("kind", ["GET", "POST"])
async def test_a_stream_that_was_never_read_leaves_nothing_behind(client, clock, gate, kind):
    answer = await (client.get() if kind == "GET" else silent(clock, gate.entered, client.call("blocked")))
    answer.close()
    gate.open.set()
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_a_stream_that_was_read_to_its_end_leaves_nothing_behind(client, gate):
    gate.open.set()
    await rest(await client.call("count", {"steps": 3}))
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_leaving_before_the_answer_began_does_not_cancel_the_call(client, gate):
    task = asyncio.ensure_future(client.call("blocked", id=1))
    await gate.wait(gate.entered)
    task.cancel()
    await asyncio.wait([task])
    await settle()
    assert not gate.left.is_set()
    again = await client.call("blocked", id=1)
    gate.open.set()
    assert told(await rest(again)) == ["through"]
    assert gate.runs == 1
