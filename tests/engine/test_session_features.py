"""What a session remembers: batches in flight, counters, log level, subscriptions, a place under the cap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.protocol.session import session_key
from tests.support.client import SessionClient, request, send, silent, text_of
from tests.support.clock import settle
from tests.support.stores import FlakyBackend, left_behind

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
PING = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}


@pytest.fixture
async def old(endpoint: Any) -> SessionClient:
    """A client with an open 2025-03-26 session, the one revision with batches."""
    client = SessionClient(endpoint, "2025-03-26")
    await client.open()
    return client


async def record(client: SessionClient) -> Any:
    return await client.endpoint.backend.get(session_key(client.session_id))


async def subscriptions(client: SessionClient) -> frozenset[str]:
    return await client.endpoint.backend.subscriptions(session_key(client.session_id))


def call(id: Any, name: str = "add", **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments or {"a": 1, "b": 2}, "_meta": {"progressToken": id}}
    return request("tools/call", params, id=id)


# -- batches ------------------------------------------------------------------------------------------


async def test_a_batch_is_answered_with_an_array(old):
    answer = await old.post([call(1), PING, call("1", a=2, b=2), request("ping", id=3)])
    assert answer.headers["content-type"] == "application/json"
    results = {message["id"]: message["result"] for message in answer.json}
    assert [results[1]["content"][0]["text"], results["1"]["content"][0]["text"], results[3]] == ["3", "4", {}]


async def test_a_batch_of_one_is_still_an_array(old):
    assert [message["id"] for message in (await old.post([call(1)])).json] == [1]


async def test_a_batch_that_speaks_is_answered_on_one_stream(old, gate):
    answer = await old.post([call(1), call(2, "count", steps=2)])
    gate.open.set()
    messages = await answer.messages()
    assert [item["params"]["progress"] for item in messages if "method" in item] == [1, 2, 3]
    assert sorted(item["id"] for item in messages if "result" in item) == [1, 2]
    await settle()
    assert set(await left_behind(old.endpoint)) == {"sessions"}


async def test_a_batch_of_notifications_is_accepted(old):
    answer = await old.post([PING, PING])
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize(
    "batch",
    [
        [],
        [call(1), {"jsonrpc": "2.0", "id": 1, "result": {}}],
        [PING, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}}],
        [call(1), call(1)],
        [request("initialize", {"protocolVersion": "2025-03-26"})],
        [call(number) for number in range(101)],
    ],
)
async def test_a_malformed_batch_is_refused_as_a_whole(old, gate, batch):
    answer = await old.post(batch)
    assert (answer.status, answer.error_code, gate.runs) == (400, -32600, 0)
    assert set(await left_behind(old.endpoint)) == {"sessions"}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_later_revisions_have_no_batches(endpoint, gate, version, named):
    client = SessionClient(endpoint, version)
    await client.open()
    answer = await client.post([call(1)], headers={} if named else {"mcp-protocol-version": None})
    assert (answer.status, answer.error_code, gate.runs) == (400, -32600, 0)
    assert set(await left_behind(endpoint)) == {"sessions"}
    assert text_of((await client.post(call(1))).json) == "3", "the refused id is free"


async def test_a_refused_reply_in_a_batch_leaves_no_request_in_flight(old):
    answer = await old.post([{"jsonrpc": "2.0", "id": "x.1.y", "result": {}}])
    assert (answer.status, answer.json[0]["error"]["code"]) == (400, -32600)
    assert set(await left_behind(old.endpoint)) == {"sessions"}


async def test_a_cancelled_member_of_a_batch_leaves_the_others_alone(old, gate):
    task = asyncio.ensure_future(old.post([call(1, "blocked"), call(2)]))
    await gate.wait(gate.entered)
    assert (await old.notify("notifications/cancelled", {"requestId": 1})).status == 202
    answer = await task
    assert [message["id"] for message in answer.json] == [2]
    assert gate.cancelled


async def test_responses_may_come_as_a_batch(old):
    first, second = await old.call("ask"), await old.call("ask")
    ids = [(await answer.message())["id"] for answer in (first, second)]
    replies = [{"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}} for id in ids]
    assert (await old.post(replies)).status == 202
    assert [await first.text(), await second.text()] == ["decline None"] * 2


# -- cancelling ---------------------------------------------------------------------------------------


async def test_a_cancelled_call_ends_without_an_answer(client, clock, gate):
    answer = await silent(clock, gate.entered, client.call("blocked", id="c"))
    cancelled = await client.notify("notifications/cancelled", {"requestId": "c"})
    assert (cancelled.status, cancelled.body) == (202, b"")
    assert await answer.messages() == []
    assert gate.cancelled


async def test_cancelling_before_the_request_keeps_the_tool_from_running(client, gate):
    assert (await client.notify("notifications/cancelled", {"requestId": 5})).status == 202
    answer = await client.call("add", {"a": 1, "b": 2}, id=5)
    assert answer.stream is None or await answer.messages() == []
    assert gate.runs == 0
    await settle()
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_an_early_cancel_is_forgotten_after_a_while(client, clock):
    await client.notify("notifications/cancelled", {"requestId": 5})
    await clock.advance(31)
    assert text_of((await client.call("add", {"a": 1, "b": 2}, id=5)).json) == "3"


async def test_an_id_of_another_type_cancels_nothing(client, clock, gate):
    answer = await silent(clock, gate.entered, client.call("blocked", id=1))
    assert (await client.notify("notifications/cancelled", {"requestId": "1"})).status == 202
    gate.open.set()
    assert await answer.text() == "through"


async def test_a_client_that_left_during_the_round_trip_to_the_store_may_send_again(build_endpoint, endpoint, clock):
    store = FlakyBackend(endpoint.policy, clock.now)
    client = SessionClient(build_endpoint(store))
    await client.open()
    entered = store.enter

    async def slow(*args: Any, **options: Any) -> Any:
        await entered(*args, **options)
        await asyncio.Event().wait()

    store.enter = slow  # type: ignore[method-assign]
    task = asyncio.ensure_future(client.post(call(1)))
    await settle()
    task.cancel()
    await asyncio.wait([task])
    del store.enter
    await settle()
    again = await client.post(call(1))
    assert again.status == 200, again.body
    assert text_of(again.json if again.stream is None else (await again.messages())[-1]) == "3"


# -- what is kept -------------------------------------------------------------------------------------


async def test_requests_and_errors_are_counted(client):
    before = (await record(client)).requests
    await client.call("add", {"a": 1, "b": 2})
    await client.call("fail")
    await client.request("no/such")
    await client.notify("notifications/roots/list_changed")
    await settle()
    session = await record(client)
    assert (session.requests - before, session.errors) == (3, 2)


async def test_a_request_moves_the_last_use(client, clock):
    await clock.advance(50)
    await client.request("ping")
    session = await record(client)
    assert (session.last_seen, session.created) == (clock.now(), clock.now() - 50)


@pytest.mark.parametrize(("chosen", "told"), [(None, True), ("debug", True), ("info", True), ("warning", False)])
async def test_the_log_level_filters_messages(client, chosen, told):
    if chosen:
        assert (await client.request("logging/setLevel", {"level": chosen})).json["result"] == {}
    answer = await client.call("talk", {"level": "info"})
    assert (answer.stream is not None) is told
    if told:
        message, result = await answer.messages()
        assert (message["params"]["data"], text_of(result)) == ("a word", "talked")


async def test_a_log_level_that_does_not_exist_is_refused(client):
    assert (await client.request("logging/setLevel", {"level": "loud"})).error_code == -32602
    assert (await record(client)).log_level == ""


async def test_subscribers_hear_of_a_resource_until_they_unsubscribe(client):
    stream = await client.get()
    await stream.frame()
    await client.request("resources/subscribe", {"uri": "test://watched"})
    await client.call("announce")
    changes = [(await stream.message()) for _ in range(2)]
    assert [change["method"] for change in changes] == [
        "notifications/tools/list_changed",
        "notifications/resources/updated",
    ]
    assert changes[1]["params"]["uri"] == "test://watched"
    await client.request("resources/unsubscribe", {"uri": "test://watched"})
    await client.call("announce")
    await settle()  # changes are told behind the call that announced them
    await client.call("whisper", {"text": "end"})
    rest = [(await stream.message())["method"] for _ in range(2)]
    assert rest == ["notifications/tools/list_changed", "notifications/message"]


async def test_a_session_may_not_subscribe_without_end(client):
    for number in range(1000):
        await client.request("resources/subscribe", {"uri": f"test://{number}"})
    refused = await client.request("resources/subscribe", {"uri": "test://too-many"})
    assert refused.error_code == -32602
    assert "1000 resources" in refused.json["error"]["message"]
    assert len(await subscriptions(client)) == 1000


@pytest.mark.parametrize("letter", ["x", "\u00e9"])
async def test_a_session_may_not_subscribe_to_long_uris_without_end(client, letter):
    uris = [f"test://{number}/".ljust(2040, "x") for number in range(40)]
    if letter != "x":
        uris = [uri[:1000].replace("x", letter) + "x" * 40 for uri in uris]
    answers = [await client.request("resources/subscribe", {"uri": uri}) for uri in uris]
    refused = next(answer for answer in answers if "error" in answer.json)
    assert (refused.status, refused.error_code) == (200, -32602)
    assert "65536 bytes" in refused.json["error"]["message"]
    assert len(refused.body) < 500
    kept = await subscriptions(client)
    assert 60_000 < sum(len(uri.encode()) for uri in kept) <= 65536
    for uri in kept:
        assert (await client.request("resources/subscribe", {"uri": uri})).json["result"] == {}, "it is there"
    for uri in uris:
        assert (await client.request("resources/unsubscribe", {"uri": uri})).json["result"] == {}
    assert await subscriptions(client) == frozenset()


async def test_the_idlest_session_makes_room_for_a_new_one(build_endpoint, clock, gate):
    endpoint = build_endpoint(max_sessions_per_principal=2)
    busy, idle, stranger, newest = [SessionClient(endpoint, user=user) for user in ("ann", "ann", "bob", "ann")]
    for client in (busy, idle, stranger):
        await client.open()
        await clock.advance(1)
    running = await silent(clock, gate.entered, busy.call("blocked"))
    await idle.request("ping")
    await settle()
    await newest.open()
    alive = [(await client.request("ping")).status for client in (busy, idle, stranger, newest)]
    assert alive == [200, 404, 200, 200]
    gate.open.set()
    assert await running.text() == "through"


async def test_when_all_sessions_of_a_caller_are_busy_it_gets_no_other(build_endpoint, clock, gate):
    endpoint = build_endpoint(max_sessions_per_principal=2)
    busy, other, stranger = [SessionClient(endpoint, user=user) for user in ("ann", "ann", "bob")]
    for client in (busy, other, stranger):
        await client.open()
    running = [await silent(clock, gate.entered, client.call("blocked")) for client in (busy, other)]
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    refused = await send(endpoint, body=request("initialize", params, id="one-more"), user="ann")
    assert refused.status == 429
    assert refused.headers["retry-after"] == "5"
    assert "mcp-session-id" not in refused.headers
    assert refused.json["id"] == "one-more"
    assert refused.json["error"]["code"] == -32600
    assert "2 sessions" in refused.json["error"]["message"]
    assert endpoint.meter.since_start().refused == {"429": 1}
    assert [(await client.request("ping")).status for client in (busy, other, stranger)] == [200, 200, 200]
    gate.open.set()
    assert [await answer.text() for answer in running] == ["through", "through"]
    await settle()
    assert (await send(endpoint, body=request("initialize", params), user="ann")).status == 200
