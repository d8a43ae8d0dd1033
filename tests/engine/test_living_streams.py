"""Two living responses of one stream: the newest is served, the other one is told, and its client comes to rest."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.backends.memory import MemoryBackend
from tests.clock import settle
from tests.engine.client import Answer, SessionClient, text_of


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


async def test_another_session_learns_nothing_of_it(clients):
    client, _ = clients
    first = await client.get()
    headers = {"mcp-session-id": "A" * 43}
    assert (await client.get("g-0-moved", headers=headers)).status == 404
    first.close()
