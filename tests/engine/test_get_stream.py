"""The GET stream of a session: resuming it, what it keeps, and two sockets of one stream, on one node and on two."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.backends.records import NodeRecord
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, Frame, SessionClient, later, silent
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate

Nodes = tuple[Endpoint, Endpoint]


@pytest.fixture(params=["2025-11-25", "2025-06-18", "2025-03-26"])
async def client(request: pytest.FixtureRequest, nodes: Nodes) -> SessionClient:
    """A session of each revision on two nodes."""
    return await opened(nodes[0], version=request.param)


async def whisper(client: SessionClient, *texts: str, **options: Any) -> None:
    """Send messages that belong to no request."""
    for text in texts:
        await client.call("whisper", {"text": text}, **options)


async def hear(stream: Answer, count: int = 1) -> str:
    """Return the letters of the next messages."""
    return "".join([(await stream.message())["params"]["data"] for _ in range(count)])


async def first_event(answer: Answer) -> Frame:
    """Read to the first frame that has an id."""
    while not (frame := await answer.event()).id:
        continue
    return frame


async def last_id(answer: Answer) -> str | None:
    """Read a stream to its end as a client does; return the last event id."""
    last = None
    while (frame := await answer.frame()) is not None:
        last = frame.id or last
    return last


# -- one socket ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(5))
async def test_it_is_resumed_after_any_event(here: SessionClient, cut: int) -> None:
    answer = await here.get()
    await whisper(here, *"abcd")
    before = [await answer.event() for _ in range(cut + 1)]
    answer.close()
    await settle()
    await whisper(here, "e")
    resumed = await here.get(before[-1].id)
    after = await hear(resumed, 5 - cut)
    await whisper(here, "f")
    heard = "".join(frame.message["params"]["data"] for frame in before if frame.data)
    assert heard + after + await hear(resumed) == "abcdef"


async def test_it_keeps_what_came_while_no_socket_was_open(client: SessionClient) -> None:
    await whisper(client, "a")
    first = await client.get()
    assert await hear(first) == "a"
    first.close()
    await settle()
    await whisper(client, "b")
    assert await hear(await client.get()) == "b"


async def test_it_carries_what_the_other_node_produced(client: SessionClient, there: dict[str, Any]) -> None:
    stream = await client.get()
    await whisper(client, "a", **there)
    await whisper(client, "b")
    await whisper(client, "c", **there)
    assert await hear(stream, 3) == "abc"


async def test_a_calls_messages_and_questions_stay_off_it(client: SessionClient, gate: Gate) -> None:
    stream = await client.get()
    gate.open.set()
    assert len(await (await client.call("count", {"steps": 1})).messages()) == 3
    answer = await client.call("ask")
    await client.reply((await answer.message())["id"], {"action": "decline"})
    await answer.messages()
    await whisper(client, "e")
    assert await hear(stream) == "e"


@pytest.mark.parametrize("kind", ["GET", "POST"])
async def test_a_silent_stream_is_kept_alive_from_the_start(
    client: SessionClient, clock: FakeClock, gate: Gate, kind: str
) -> None:
    answer = await (client.get() if kind == "GET" else silent(clock, gate.entered, client.call("blocked")))
    await answer.frame()
    for _ in range(3):
        frame = await later(clock, 15, answer.event())
        assert (frame.comment, frame.id, frame.data) == ("keep-alive", None, None)


# -- two sockets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
async def test_the_newest_is_served_and_the_other_ones_client_stops(
    client: SessionClient, nodes: Nodes, where: int
) -> None:
    first, second = await client.get(), await client.get(endpoint=nodes[where])
    await settle()
    last = await last_id(first)
    assert last == "g-0-moved"
    assert (await client.get(last)).status == 204
    await whisper(client, "a")
    assert await hear(second) == "a"


async def test_a_client_that_gave_way_is_served_again_when_nobody_holds_the_stream(
    client: SessionClient, there: dict[str, Any]
) -> None:
    first, second = await client.get(), await client.get(**there)
    await settle()
    last = await last_id(first)
    await whisper(client, "a")
    assert await hear(second) == "a"
    second.close()
    await settle()
    third = await client.get(last)
    await whisper(client, "b")
    assert await hear(third) == "b", "nothing is told twice"


async def test_a_client_whose_old_socket_is_half_open_is_served(client: SessionClient, there: dict[str, Any]) -> None:
    dead = await client.get()
    await whisper(client, "a")
    while not (frame := await dead.event()).data:
        continue
    again = await client.get(frame.id, **there)
    assert again.status == 200
    await whisper(client, "b")
    assert await hear(again) == "b"


async def test_two_readers_of_a_calls_stream_come_to_rest(
    client: SessionClient, there: dict[str, Any], gate: Gate
) -> None:
    first = await client.call("count", {"steps": 1})
    second = await client.get((await first_event(first)).id, **there)
    await settle()
    last = await last_id(first)
    assert last is not None
    assert last.endswith("-moved")
    assert (await client.get(last)).status == 204
    gate.open.set()
    assert await second.text() == "counted"
    await settle()
    assert await (await client.get(last)).text() == "counted", "who comes back later is served"


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
@pytest.mark.parametrize("read", range(4))
async def test_a_second_get_is_not_given_again_what_was_delivered(
    client: SessionClient, nodes: Nodes, read: int, where: int
) -> None:
    """Also what the store has not been told of yet, which is done once a second."""
    first = await client.get()
    await whisper(client, *"abc")
    told = await hear(first, read)
    second = await client.get(endpoint=nodes[where])
    await whisper(client, "d")
    rest = [message["params"]["data"] for message in await first.messages() if "id" not in message]
    told += "".join(text for text in rest if len(text) == 1)  # without the notice that the stream has moved
    while not told.endswith("d"):
        told += await hear(second)
    assert told == "abcd"


@pytest.mark.parametrize("beside_a_call", [False, True])
async def test_a_get_right_behind_one_that_left_is_not_given_its_messages_again(
    client: SessionClient, beside_a_call: bool
) -> None:
    first = await client.get()
    call = await client.call("count", {"steps": 1}) if beside_a_call else None
    await whisper(client, "a")
    assert await hear(first) == "a"
    if call is not None:
        await call.frame()
    first.close()
    if call is not None:
        call.close()
    second = await client.get()
    await whisper(client, "b")
    assert await hear(second) == "b"


class _Shared(MemoryBackend):
    """A store as several processes share it, of which some may be dead."""

    shares_streams = True
    living: frozenset[str] = frozenset()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        return tuple(NodeRecord(name, "host", 1) for name in self.living)


async def test_a_moved_client_is_served_when_the_node_of_the_other_one_is_dead(
    build_endpoint: BuildEndpoint, clock: FakeClock
) -> None:
    store = _Shared(Policy(), clock.now)
    here, there = build_endpoint(store), build_endpoint(store)
    store.living = frozenset({(await here.pool.node()).id, (await there.pool.node()).id})
    client = await opened(here)
    first, _second = await client.get(), await client.get(endpoint=there)
    await settle()
    last = await last_id(first)
    assert (await client.get(last)).status == 204
    store.living = frozenset({(await here.pool.node()).id})
    third = await client.get(last)
    await whisper(client, "a")
    assert await hear(third) == "a"


async def test_a_node_that_drains_sends_readers_of_calls_elsewhere(
    client: SessionClient, there: dict[str, Any], gate: Gate
) -> None:
    """Their calls go on at other nodes."""
    first = await client.call("count", {"steps": 1})
    last, retry = (await first_event(first)).id, None
    first.close()
    second = await client.get(last, **there)
    await second.frame()
    await (await there["endpoint"].pool.node()).drain()
    while (frame := await second.frame()) is not None:
        last, retry = frame.id or last, frame.retry
    assert retry is not None
    gate.open.set()
    assert await (await client.get(last)).text() == "counted"


@pytest.mark.parametrize("level", ["debug", "error"])
async def test_the_notice_has_a_level_that_the_client_hears(client: SessionClient, level: str) -> None:
    await client.request("logging/setLevel", {"level": level})
    first, _second = await client.get(), await client.get()
    await settle()
    for message in await first.messages():  # 2025-11-25 has none
        assert message["params"]["level"] == level


async def test_another_session_learns_nothing_of_it(client: SessionClient) -> None:
    first = await client.get()
    assert (await client.get("g-0-moved", headers={"mcp-session-id": "A" * 43})).status == 404
    first.close()
