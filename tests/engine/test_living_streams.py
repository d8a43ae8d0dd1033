"""Two living responses of one stream: the newest is served, the other one is told, and its client comes to rest."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.backends.records import NodeRecord
from tests.support.client import Answer, SessionClient, text_of
from tests.support.clock import settle


@pytest.fixture(params=["2025-11-25", "2025-06-18", "2025-03-26"])
async def clients(request: pytest.FixtureRequest, build_endpoint: Any, endpoint: Any, clock: Any) -> Any:
    """One session on two nodes."""
    store = MemoryBackend(endpoint.policy, clock.now)
    here, there = build_endpoint(store), build_endpoint(store)
    client = SessionClient(here, request.param)
    await client.open()
    return client, {"endpoint": there}


async def last_id(answer: Answer) -> str | None:
    """Read a stream to its end as a client does; return the last event id."""
    last = None
    while (frame := await answer.frame()) is not None:
        last = frame.id or last
    return last


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_the_newest_is_served_and_the_other_ones_client_stops(clients, elsewhere):
    client, there = clients
    first, second = await client.get(), await client.get(**(there if elsewhere else {}))
    await settle()
    last = await last_id(first)
    assert last == "g-0-moved"
    assert (await client.get(last)).status == 204
    await client.call("whisper", {"text": "once"})
    assert (await second.message())["params"]["data"] == "once"


async def test_a_client_that_gave_way_is_served_again_when_nobody_holds_the_stream(clients):
    client, there = clients
    first, second = await client.get(), await client.get(**there)
    await settle()
    last = await last_id(first)
    await client.call("whisper", {"text": "for the second"})
    assert (await second.message())["params"]["data"] == "for the second"
    second.close()
    await settle()
    third = await client.get(last)
    await client.call("whisper", {"text": "for the third"})
    assert (await third.message())["params"]["data"] == "for the third", "nothing is told twice"


async def test_a_client_whose_old_socket_is_half_open_is_served(clients):
    client, there = clients
    dead = await client.get()
    await client.call("whisper", {"text": "one"})
    frame = await dead.frame()
    while not (frame and frame.data):
        frame = await dead.frame()
    again = await client.get(frame.id, **there)
    assert again.status == 200
    await client.call("whisper", {"text": "two"})
    assert (await again.message())["params"]["data"] == "two"


async def test_two_readers_of_a_calls_stream_come_to_rest(clients, gate):
    client, there = clients
    first = await client.call("count", {"steps": 1})
    frame = await first.frame()
    while not (frame and frame.id):
        frame = await first.frame()
    second = await client.get(frame.id, **there)
    await settle()
    last = await last_id(first)
    assert last is not None
    assert last.endswith("-moved")
    assert (await client.get(last)).status == 204
    gate.open.set()
    assert text_of((await second.messages())[-1]) == "counted"
    await settle()
    assert text_of((await (await client.get(last)).messages())[-1]) == "counted", "who comes back later is served"


@pytest.mark.parametrize("read", range(4))
async def test_a_get_on_another_node_is_not_given_again_what_was_delivered(clients, read):
    """Also what the store has not been told of yet, which is done once a second."""
    client, there = clients
    first = await client.get()
    for text in "abc":
        await client.call("whisper", {"text": text})
    told = [(await first.message())["params"]["data"] for _ in range(read)]
    second = await client.get(**there)
    await client.call("whisper", {"text": "d"})
    told += [message["params"]["data"] for message in await first.messages() if "id" not in message]
    told = [text for text in told if len(text) == 1]  # without the notice that the stream has moved
    while told[-1:] != ["d"]:
        told.append((await second.message())["params"]["data"])
    assert told == list("abcd")


async def test_a_get_right_behind_one_that_left_is_not_given_its_messages_again(clients):
    client, _ = clients
    first = await client.get()
    await client.call("whisper", {"text": "a"})
    assert (await first.message())["params"]["data"] == "a"
    first.close()
    second = await client.get()
    await client.call("whisper", {"text": "b"})
    assert (await second.message())["params"]["data"] == "b"


async def test_a_calls_stream_that_is_left_too_does_not_hide_that_the_get_stream_was(clients):
    client, _ = clients
    first, call = await client.get(), await client.call("count", {"steps": 1})
    await client.call("whisper", {"text": "a"})
    assert (await first.message())["params"]["data"] == "a"
    await call.frame()
    first.close()
    call.close()
    second = await client.get()
    await client.call("whisper", {"text": "b"})
    assert (await second.message())["params"]["data"] == "b"


class _Shared(MemoryBackend):
    """A store as several processes share it, of which some may be dead."""

    shares_streams = True
    dead: frozenset[str] = frozenset()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        return tuple(NodeRecord(name, "host", 1) for name in self._inboxes._deliver if name not in self.dead)


async def test_a_moved_client_is_served_when_the_node_of_the_other_one_is_dead(build_endpoint, endpoint, clock, gate):
    store = _Shared(endpoint.policy, clock.now)
    here, there = build_endpoint(store), build_endpoint(store)
    client = SessionClient(here)
    await client.open()
    first, _second = await client.get(), await client.get(endpoint=there)
    await settle()
    last = await last_id(first)
    assert (await client.get(last)).status == 204
    store.dead = frozenset({(await there.node()).id})
    third = await client.get(last)
    await client.call("whisper", {"text": "here"})
    assert (await third.message())["params"]["data"] == "here"


async def test_a_node_that_drains_sends_readers_of_calls_elsewhere(clients, gate):
    """Their calls go on at other nodes."""
    client, there = clients
    first = await client.call("count", {"steps": 1})
    event = await first.frame()
    while not (event and event.id):
        event = await first.frame()
    first.close()
    second = await client.get(event.id, **there)
    await second.frame()
    await (await there["endpoint"].node()).retire()
    last = event.id
    while (frame := await second.frame()) is not None:
        last = frame.id or last
        retry = frame.retry
    assert retry is not None
    gate.open.set()
    assert text_of((await (await client.get(last)).messages())[-1]) == "counted"


@pytest.mark.parametrize("level", ["debug", "error"])
async def test_the_notice_has_a_level_that_the_client_hears(clients, level):
    client, _ = clients
    await client.request("logging/setLevel", {"level": level})
    first, _second = await client.get(), await client.get()
    await settle()
    for message in await first.messages():  # 2025-11-25 has none
        assert message["params"]["level"] == level


async def test_another_session_learns_nothing_of_it(clients):
    client, _ = clients
    first = await client.get()
    headers = {"mcp-session-id": "A" * 43}
    assert (await client.get("g-0-moved", headers=headers)).status == 404
    first.close()
