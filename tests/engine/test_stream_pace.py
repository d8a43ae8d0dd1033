"""Streams under pressure: slow clients, slow and absent stores, POSTs that are sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.client import Answer, SessionClient, later, request, silent, text_of, until
from tests.support.clock import settle
from tests.support.stores import FlakyBackend, left_behind


def progress(messages: list[dict[str, Any]]) -> list[int]:
    return [message["params"]["progress"] for message in messages if "method" in message]


async def everything(answer: Answer) -> list[dict[str, Any]]:
    async with asyncio.timeout(5):
        return await answer.messages()


@pytest.fixture
async def store(build_endpoint: Any, clock: Any) -> FlakyBackend:
    return FlakyBackend(build_endpoint().policy, clock.now)


# -- slow clients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("already_read", [0, 1, 2, 5])
async def test_a_slow_client_gets_everything_once_and_in_order(build_endpoint, gate, already_read):
    client = SessionClient(build_endpoint(stream_queue=8))
    await client.open()
    answer = await client.call("count", {"steps": 300})
    for _ in range(already_read):
        await answer.frame()
    await gate.wait(gate.entered)
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    messages = await everything(answer)
    assert progress(messages) == list(range(max(1, already_read), 302))
    assert text_of(messages[-1]) == "counted"


async def test_a_slow_client_does_not_hold_up_the_handler(build_endpoint, gate):
    client = SessionClient(build_endpoint(stream_queue=8))
    await client.open()
    gate.open.set()
    await client.call("count", {"steps": 300})
    await until(gate.left.is_set)
    assert gate.written == 300


async def test_a_slow_get_client_gets_everything_once_and_in_order(build_endpoint):
    client = SessionClient(build_endpoint(stream_queue=4))
    await client.open()
    answer = await client.get()
    for number in range(50):
        await client.call("whisper", {"text": str(number)})
        if number % 7 == 0:
            await answer.frame()
    seen = 49 - 7  # eight frames were read, the opening first
    texts = [(await answer.message())["params"]["data"] for _ in range(seen + 1)]
    assert texts == [str(number) for number in range(7, 50)]


async def test_a_log_that_is_behind_makes_the_client_wait_and_skips_nothing(build_endpoint, store, gate):
    client = SessionClient(build_endpoint(store, stream_queue=4))
    await client.open()
    store.held["append"] = asyncio.Event()
    answer = await client.call("burst", {"steps": 10, "pause": True})
    reading = asyncio.ensure_future(answer.messages())
    await gate.wait(gate.entered)
    gate.open.set()
    await until(lambda: gate.written == 10 and not gate.open.is_set())
    await settle()
    gate.open.set()
    await settle()
    store.held["append"].set()
    async with asyncio.timeout(5):
        messages = await reading
    assert progress(messages) == list(range(11))
    assert text_of(messages[-1]) == "burst"


async def test_a_client_that_read_faster_than_the_log_grew_is_woken_when_it_has_grown(build_endpoint, store, gate):
    client = SessionClient(build_endpoint(store, stream_queue=4))
    await client.open()
    store.held["append"] = asyncio.Event()
    answer = await client.call("burst", {"steps": 10})
    await gate.wait(gate.entered)
    gate.open.set()
    await until(lambda: gate.written == 10)
    await settle()
    reading = asyncio.ensure_future(answer.messages())
    await settle()
    store.held["append"].set()
    async with asyncio.timeout(5):
        messages = await reading
    assert progress(messages) == list(range(11))
    assert text_of(messages[-1]) == "burst"


async def test_an_event_that_is_not_in_the_log_yet_can_be_resumed_from(build_endpoint, store, gate):
    client = SessionClient(build_endpoint(store))
    await client.open()
    store.held["append"] = asyncio.Event()
    answer = await client.call("count", {"steps": 2})
    frames = [await answer.frame() for _ in range(3)]
    answer.close()
    await settle()
    resumed = await client.get(frames[-1].id)
    store.held["append"].set()
    gate.open.set()
    assert resumed.status == 200, resumed.body
    messages = await everything(resumed)
    assert (progress(messages), text_of(messages[-1])) == ([3], "counted")


async def test_a_stream_taken_over_before_the_log_knows_its_first_holder_goes_to_the_new_one(
    build_endpoint, store, gate
):
    client = SessionClient(build_endpoint(store))
    await client.open()
    store.held["append"] = asyncio.Event()
    first = await client.call("count", {"steps": 2}, id=1)
    await first.frame()
    again = await client.call("count", {"steps": 2}, id=1)
    store.held["append"].set()
    gate.open.set()
    messages = await everything(again)
    assert (progress(messages), text_of(messages[-1]), gate.runs) == ([1, 2, 3], "counted", 1)
    assert not any("result" in message for message in await everything(first))


# -- a store that is away -----------------------------------------------------------------------------


async def test_a_running_call_finishes_on_its_socket_while_the_store_is_away(build_endpoint, store, clock, gate):
    client = SessionClient(build_endpoint(store))
    await client.open()
    answer = await client.call("count", {"steps": 2})
    await gate.wait(gate.entered)
    store.away = {"*"}
    assert [(await answer.message())["params"]["progress"] for _ in range(2)] == [1, 2]
    assert (await later(clock, 15, answer.frame())).comment == "keep-alive"
    gate.open.set()
    messages = await everything(answer)
    store.away.clear()
    assert (progress(messages), text_of(messages[-1])) == ([3], "counted")
    for _ in range(6):
        await clock.advance(10)
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_what_an_outage_kept_out_of_the_log_is_there_when_it_is_over(build_endpoint, store, clock, gate):
    client = SessionClient(build_endpoint(store))
    await client.open()
    answer = await client.call("count", {"steps": 2})
    first = await answer.frame()
    await gate.wait(gate.entered)
    await settle()
    store.away = {"*"}
    answer.close()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    store.away.clear()
    for _ in range(6):
        await clock.advance(10)
    resumed = await client.get(first.id)
    messages = await everything(resumed)
    assert (progress(messages), text_of(messages[-1])) == ([1, 2, 3], "counted")


async def test_an_outage_at_the_end_of_a_call_leaves_nothing_in_flight(build_endpoint, store, clock, gate):
    client = SessionClient(build_endpoint(store))
    await client.open()
    task = asyncio.ensure_future(client.call("blocked", id=1))
    await gate.wait(gate.entered)
    store.away = {"*"}
    gate.open.set()
    assert text_of((await task).json) == "through"
    await settle()
    store.away.clear()
    for _ in range(6):
        await clock.advance(10)
    assert set(await left_behind(client.endpoint)) == {"sessions"}


# -- a POST that is sent again ------------------------------------------------------------------------


async def test_a_retry_gets_the_stream_of_the_first_and_the_tool_runs_once(client, gate):
    first = await client.call("count", {"steps": 2}, id=1)
    await first.frame()
    await settle()
    again = await client.call("count", {"steps": 2}, id=1)
    gate.open.set()
    messages = await everything(again)
    assert (progress(messages), text_of(messages[-1]), gate.runs) == ([1, 2, 3], "counted", 1)
    assert not any("result" in message for message in await everything(first))


async def test_a_retry_before_the_first_was_answered_gets_the_answer(client, clock, gate):
    first = asyncio.ensure_future(client.call("blocked", id=1))
    await gate.wait(gate.entered)
    again = await client.call("blocked", id=1)
    reading = asyncio.ensure_future(everything(again))
    await settle()
    await clock.advance(1.0)
    gate.open.set()
    assert text_of((await reading)[-1]) == "through"
    await (await first).messages()
    assert gate.runs == 1
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_a_retry_gets_what_a_node_that_does_not_say_so_has_just_answered(client, monkeypatch):
    async def silent_node(*_: Any) -> None:
        """Say nothing, as a node of the previous release."""

    monkeypatch.setattr((await client.endpoint.node()).clearing, "are_over", silent_node)
    backend, may_leave = client.endpoint.backend, asyncio.Event()
    leave, attach = backend.leave, backend.attach

    async def late(*arguments: Any, **options: Any) -> bool:
        await may_leave.wait()
        return await leave(*arguments, **options)

    async def early(*arguments: Any) -> Any:
        attached = await attach(*arguments)
        may_leave.set()
        await settle()
        return attached

    monkeypatch.setattr(backend, "leave", late)
    monkeypatch.setattr(backend, "attach", early)
    assert (await client.request("ping", id=1)).json["id"] == 1
    again = await client.request("ping", id=1)
    assert [message["id"] for message in await again.messages()] == [1]
    assert set(await left_behind(client.endpoint)) <= {"sessions", "logs"}


async def test_a_retry_finds_its_own_sessions_call(endpoint, gate):
    clients = [SessionClient(endpoint) for _ in range(2)]
    for client in clients:
        await client.open()
    firsts = [asyncio.ensure_future(client.call("blocked", id=1)) for client in clients]
    await until(lambda: gate.runs == 2)
    agains = [await client.call("blocked", id=1) for client in clients]
    gate.open.set()
    for again in agains:
        assert text_of((await everything(again))[-1]) == "through"
    for first in firsts:
        await first
    assert gate.runs == 2


async def test_a_retry_of_a_batch_gets_the_stream_of_the_first(endpoint, gate):
    client = SessionClient(endpoint, "2025-03-26")
    await client.open()
    batch = [
        request("tools/call", {"name": "count", "arguments": {"steps": 1}, "_meta": {"progressToken": id}}, id=id)
        for id in (1, 2)
    ]
    await client.post(batch)
    again = await client.post(batch)
    gate.open.set()
    results = [message["id"] for message in await everything(again) if "result" in message]
    assert (sorted(results), gate.runs) == ([1, 2], 2)


async def test_the_same_id_with_another_body_is_refused(client, clock, gate):
    first = await silent(clock, gate.entered, client.call("blocked", id=1))
    refused = await client.call("add", {"a": 1, "b": 2}, id=1)
    assert (refused.status, refused.error_code, refused.json["id"], gate.runs) == (400, -32600, 1, 1)
    gate.open.set()
    assert await first.text() == "through"


async def test_ids_of_different_types_are_different_requests(client, clock, gate):
    first = await silent(clock, gate.entered, client.call("blocked", id=1))
    assert text_of((await client.call("add", {"a": 1, "b": 2}, id="1")).json) == "3"
    gate.open.set()
    assert await first.text() == "through"


async def test_a_retry_that_takes_only_json_is_refused(client, clock, gate):
    first = await silent(clock, gate.entered, client.call("blocked", id=1))
    refused = await client.call("blocked", id=1, headers={"accept": "application/json"})
    assert (refused.status, refused.error_code, gate.runs) == (400, -32600, 1)
    gate.open.set()
    assert await first.text() == "through"


async def test_an_id_is_free_again_after_its_answer(client):
    for _ in range(2):
        assert text_of((await client.call("add", {"a": 1, "b": 2}, id=1)).json) == "3"
        await settle()
