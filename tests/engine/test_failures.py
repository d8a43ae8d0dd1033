"""Handlers that raise and a store that is away: what a client is told, and what it is not."""

from __future__ import annotations

import pytest

from tests.support.client import SessionClient, request, send_sessionless
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import DETAIL

CALL = request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
FAILING = [
    ("tools/call", {"name": "fail", "arguments": {}}),
    ("resources/read", {"uri": "test://broken"}),
    ("prompts/get", {"name": "stumble"}),
]


@pytest.mark.parametrize("era", ["sessionful", "sessionless"])
@pytest.mark.parametrize(("method", "params"), FAILING)
async def test_a_handler_that_raises_tells_no_traceback(client, endpoint, method, params, era):
    if era == "sessionful":
        answer = await client.request(method, params)
    else:
        answer = await send_sessionless(endpoint, method, params)
    assert answer.status in (200, 500)
    assert "error" in answer.json or answer.json["result"]["isError"]
    for detail in (b"Traceback", b"RuntimeError", b".py", DETAIL.encode()):
        assert detail not in answer.body
    assert set(await left_behind(endpoint)) == {"sessions"}


ENTRIES = ["initialize", "request", "notification", "cancel", "reply", "initialized", "GET", "resume", "DELETE"]


@pytest.mark.parametrize("entry", ENTRIES)
async def test_a_store_outage_is_503_and_never_404(build_endpoint, endpoint, clock, gate, entry):
    store = FlakyBackend(endpoint.policy, clock.now)
    client = SessionClient(build_endpoint(store))
    await client.open()
    question = await (await client.call("ask", id="q")).message()
    sends = {
        "initialize": lambda: client.request("initialize", INITIALIZE),
        "request": lambda: client.post(CALL),
        "notification": lambda: client.notify("notifications/roots/list_changed"),
        "initialized": lambda: client.notify("notifications/initialized"),
        "cancel": lambda: client.notify("notifications/cancelled", {"requestId": 5}),
        "reply": lambda: client.reply(question["id"], {"action": "decline"}),
        "GET": client.get,
        "resume": lambda: client.get("g-0"),
        "DELETE": client.delete,
    }
    store.away = {"*"}
    answer = await sends[entry]()
    store.away.clear()
    assert (answer.status, answer.error_code, answer.headers["retry-after"]) == (503, -32603, "2")
    assert b"the store is away" not in answer.body
    assert gate.runs == 0
    assert (await sends[entry]()).status < 300, "the client may try again"


@pytest.mark.parametrize(
    ("entry", "operation"),
    [("cancel", "cancel"), ("reply", "send"), ("request", "enter"), ("DELETE", "close")],
)
async def test_an_outage_in_the_middle_of_a_request_is_503_too(build_endpoint, endpoint, clock, entry, operation):
    store = FlakyBackend(endpoint.policy, clock.now)
    client = SessionClient(build_endpoint(store))
    await client.open()
    question = await (await client.call("ask", id="q")).message()
    store.away = {operation}
    answers = {
        "cancel": lambda: client.notify("notifications/cancelled", {"requestId": 5}),
        "reply": lambda: client.reply(question["id"], {"action": "decline"}),
        "initialized": lambda: client.notify("notifications/initialized"),
        "request": lambda: client.post(CALL),
        "DELETE": client.delete,
    }
    answer = await answers[entry]()
    store.away.clear()
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
