"""A store that is away: 503 and never 404, calls that run finish, nothing stays in flight; handlers that raise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcp_transport.domain.node_messages import StoreReturned
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, SessionClient, later, request, send_sessionless, silent, text_of
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import DETAIL, Gate

CALL = request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
ENTRIES: dict[str, Callable[[SessionClient, str], Awaitable[Answer]]] = {
    "initialize": lambda client, question: client.request("initialize", INITIALIZE, id=1),
    "request": lambda client, question: client.post(CALL),
    "notification": lambda client, question: client.notify("notifications/roots/list_changed"),
    "initialized": lambda client, question: client.notify("notifications/initialized"),
    "cancel": lambda client, question: client.notify("notifications/cancelled", {"requestId": 5}),
    "reply": lambda client, question: client.reply(question, {"action": "decline"}),
    "GET": lambda client, question: client.get(),
    "resume": lambda client, question: client.get("g-0"),
    "DELETE": lambda client, question: client.delete(),
}
IN_THE_MIDDLE = {"cancel": "cancel", "reply": "send", "request": "enter", "DELETE": "close"}


@pytest.mark.parametrize(("entry", "away"), [*((entry, "*") for entry in ENTRIES), *IN_THE_MIDDLE.items()])
async def test_a_store_outage_is_503_and_never_404(
    here: SessionClient, store: FlakyBackend, clock: FakeClock, gate: Gate, entry: str, away: str
) -> None:
    question = (await (await here.call("ask", id="q")).message())["id"]
    store.away = {away}
    answer = await ENTRIES[entry](here, question)
    store.away.clear()
    assert (answer.status, answer.error_code, answer.headers["retry-after"]) == (503, -32603, "2")
    assert answer.json.get("id") == (1 if entry in ("initialize", "request") else None)
    assert b"the store is away" not in answer.body
    assert gate.runs == 0
    assert (await ENTRIES[entry](here, question)).status < 300, "the client may try again"
    await recover(store, clock)


# -- calls that run -----------------------------------------------------------------------------------


async def recover(store: FlakyBackend, clock: FakeClock) -> None:
    """Have the store answer again, and let everything that waited for it go on."""
    store.away.clear()
    for _ in range(6):
        await clock.advance(10)


def progress(messages: list[dict[str, Any]]) -> list[int]:
    return [message["params"]["progress"] for message in messages if "method" in message]


async def test_a_running_call_finishes_on_its_socket(
    here: SessionClient, store: FlakyBackend, clock: FakeClock, gate: Gate
) -> None:
    answer = await here.call("count", {"steps": 2})
    await gate.wait(gate.entered)
    store.away = {"*"}
    assert [(await answer.message())["params"]["progress"] for _ in range(2)] == [1, 2]
    assert (await later(clock, 15, answer.event())).comment == "keep-alive"
    gate.open.set()
    messages = await answer.messages()
    assert (progress(messages), text_of(messages[-1])) == ([3], "counted")
    await recover(store, clock)
    assert set(await left_behind(here.endpoint)) == {"sessions"}


async def test_what_an_outage_kept_out_of_the_log_is_there_when_it_is_over(
    here: SessionClient, store: FlakyBackend, clock: FakeClock, gate: Gate
) -> None:
    answer = await here.call("count", {"steps": 2})
    first = await answer.event()
    await gate.wait(gate.entered)
    await settle()
    store.away = {"*"}
    answer.close()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    await recover(store, clock)
    messages = await (await here.get(first.id)).messages()
    assert (progress(messages), text_of(messages[-1])) == ([1, 2, 3], "counted")


async def test_an_outage_at_the_end_of_a_call_leaves_nothing_in_flight(
    here: SessionClient, store: FlakyBackend, clock: FakeClock, gate: Gate
) -> None:
    task = asyncio.ensure_future(here.call("blocked", id=1))
    await gate.wait(gate.entered)
    store.away = {"*"}
    gate.open.set()
    assert text_of((await task).json) == "through"
    await settle()
    await recover(store, clock)
    assert set(await left_behind(here.endpoint)) == {"sessions"}


@pytest.mark.parametrize("runs", [True, False], ids=["with a call", "idle"])
async def test_streams_of_a_session_that_the_store_has_lost_end_when_it_is_back(
    here: SessionClient, store: FlakyBackend, clock: FakeClock, gate: Gate, runs: bool
) -> None:
    stream = await here.get()
    await stream.event()
    call = await silent(clock, gate.entered, here.call("blocked")) if runs else None
    await store.remove(session_key(here.session_id))
    (await here.endpoint.pool.node()).receive(StoreReturned())
    async with asyncio.timeout(60):
        assert await stream.messages() == []
    if call is not None:
        assert "error" in (await call.messages())[-1]
        await gate.wait(gate.left)
    assert await left_behind(here.endpoint) == {}


@pytest.mark.parametrize("began_before", [True, False])
async def test_sessionless_calls_are_served_without_the_store(
    build_endpoint: BuildEndpoint, store: FlakyBackend, began_before: bool
) -> None:
    endpoint = build_endpoint(store)
    if began_before:
        await endpoint.pool.node()
    store.calls.clear()
    store.away = {"*"}
    answer = await send_sessionless(endpoint, "tools/call", CALL["params"])
    store.away.clear()
    assert answer.status == 200, answer.body
    assert text_of(answer.json) == "3"
    assert not (began_before and store.calls), "not even asked"


# -- handlers that raise ------------------------------------------------------------------------------


FAILING = [
    ("tools/call", {"name": "fail", "arguments": {}}),
    ("resources/read", {"uri": "test://broken"}),
    ("prompts/get", {"name": "stumble"}),
]


@pytest.mark.parametrize("era", ["sessionful", "sessionless"])
@pytest.mark.parametrize(("method", "params"), FAILING)
async def test_a_handler_that_raises_tells_no_traceback(
    client: SessionClient, endpoint: Endpoint, method: str, params: dict[str, Any], era: str
) -> None:
    if era == "sessionful":
        answer = await client.request(method, params)
    else:
        answer = await send_sessionless(endpoint, method, params)
    assert answer.status in (200, 500)
    assert "error" in answer.json or answer.json["result"]["isError"]
    for detail in (b"Traceback", b"RuntimeError", b".py", DETAIL.encode()):
        assert detail not in answer.body
    assert set(await left_behind(endpoint)) == {"sessions"}
