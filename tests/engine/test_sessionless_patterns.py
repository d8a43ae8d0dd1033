"""2026-07-28: subscriptions/listen and multi round-trip requests."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.client import later, send_sessionless, text_of
from tests.support.clock import settle
from tests.support.stores import left_behind

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
EVERYTHING = {"toolsListChanged": True, "resourceSubscriptions": ["test://watched"]}


async def listen(endpoint: Any, wanted: dict[str, Any] = EVERYTHING, **options: Any) -> Any:
    return await send_sessionless(endpoint, "subscriptions/listen", {"notifications": wanted}, **options)


async def announce(endpoint: Any) -> None:
    answer = await send_sessionless(endpoint, "tools/call", {"name": "announce", "arguments": {}}, id="announcement")
    assert text_of(answer.json) == "announced"


# -- subscriptions/listen -----------------------------------------------------------------------------


@pytest.mark.parametrize("id", [9, "9"])
async def test_listening_is_acknowledged_first_and_every_message_names_the_subscription(endpoint, id):
    answer = await listen(endpoint, id=id)
    await announce(endpoint)
    seen = [await answer.message() for _ in range(3)]
    assert [message["method"] for message in seen] == [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
        "notifications/resources/updated",
    ]
    assert seen[0]["params"]["notifications"] == EVERYTHING
    assert seen[2]["params"]["uri"] == "test://watched"
    for message in seen:
        named = message["params"]["_meta"][SUBSCRIPTION]
        assert named == id
        assert type(named) is type(id)


async def test_a_stop_ends_listening_with_the_final_result(endpoint):
    answers = [await listen(endpoint, id=id) for id in (1, "two")]
    await endpoint.stop()
    for id, answer in zip((1, "two"), answers, strict=True):
        *_, last = await answer.messages()
        assert last["id"] == id
        assert last["result"] == {"resultType": "complete", "_meta": last["result"]["_meta"]}
        assert last["result"]["_meta"][SUBSCRIPTION] == id


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        ({}, []),
        ({"toolsListChanged": False}, []),
        ({"promptsListChanged": True}, []),
        ({"resourceSubscriptions": ["test://other"]}, []),
        ({"toolsListChanged": True}, ["notifications/tools/list_changed"]),
        ({"resourceSubscriptions": ["test://watched"]}, ["notifications/resources/updated"]),
    ],
)
async def test_only_what_was_asked_for_is_sent(endpoint, wanted, kinds):
    answer = await listen(endpoint, wanted)
    await announce(endpoint)
    await settle()
    await endpoint.stop()
    acknowledged, *changes, final = await answer.messages()
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert [message["method"] for message in changes] == kinds
    assert "result" in final


async def test_each_listener_gets_its_own_copy(endpoint):
    first, second = await listen(endpoint, id=1), await listen(endpoint, id=2)
    await announce(endpoint)
    for id, answer in ((1, first), (2, second)):
        await answer.message()
        change = await answer.message()
        assert (change["method"], change["params"]["_meta"][SUBSCRIPTION]) == ("notifications/tools/list_changed", id)


async def test_a_listener_that_leaves_is_forgotten(endpoint):
    answer = await listen(endpoint)
    await answer.message()
    assert (await left_behind(endpoint))["listeners"]
    answer.close()
    await settle()
    assert await left_behind(endpoint) == {}


async def test_a_listener_is_kept_alive(endpoint, clock):
    answer = await listen(endpoint)
    await answer.message()
    assert (await later(clock, 15, answer.frame())).comment == "keep-alive"


@pytest.mark.parametrize("options", [{"headers": {"accept": "application/json"}}, {"streaming": False}])
async def test_listening_needs_a_stream(endpoint, options):
    async with asyncio.timeout(5):
        answer = await listen(endpoint, **options)
    assert (answer.status, answer.error_code) == (406, -32600)


# -- multi round-trip requests ------------------------------------------------------------------------


async def confirm(endpoint: Any, state: str | None = None, what: str = "it", **options: Any) -> Any:
    params: dict[str, Any] = {"name": "confirm", "arguments": {"what": what}}
    if state is not None:
        params |= {
            "requestState": state,
            "inputResponses": {"name": {"action": "accept", "content": {"name": "Ann"}}},
        }
    meta = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    return await send_sessionless(endpoint, "tools/call", params, meta=meta, **options)


async def first_round(endpoint: Any, **options: Any) -> str:
    result = (await confirm(endpoint, **options)).json["result"]
    assert result["resultType"] == "input_required"
    assert result["inputRequests"]["name"]["method"] == "elicitation/create"
    sealed: str = result["requestState"]
    return sealed


def assert_refused(answer: Any, gate: Any) -> None:
    assert answer.error_code == -32602
    assert gate.runs == 1, "only the first round ran"
    assert b"plain" not in answer.body


async def test_the_state_is_sealed_and_comes_back_as_it_was(endpoint):
    sealed = await first_round(endpoint)
    assert "plain" not in sealed
    assert text_of((await confirm(endpoint, sealed, id=2)).json) == "the state was plain it"


async def test_the_second_round_may_land_on_another_node(endpoint, build_endpoint):
    sealed = await first_round(endpoint)
    assert text_of((await confirm(build_endpoint(), sealed)).json) == "the state was plain it"


@pytest.mark.parametrize("position", [0, 3, 20, -20, -1])
async def test_a_changed_state_is_refused(endpoint, gate, position):
    sealed = list(await first_round(endpoint))
    sealed[position] = "A" if sealed[position] != "A" else "B"
    assert_refused(await confirm(endpoint, "".join(sealed)), gate)


@pytest.mark.parametrize("state", ["", "plain it", "v1.", "v1.AAAA", "é" * 10])
async def test_a_state_that_was_never_sealed_is_refused(endpoint, gate, state):
    await first_round(endpoint)
    assert_refused(await confirm(endpoint, state), gate)


async def test_another_principals_state_is_refused(endpoint, gate):
    sealed = await first_round(endpoint, user="ann")
    assert_refused(await confirm(endpoint, sealed, user="bob"), gate)


async def test_nobody_may_use_a_principals_state(endpoint, gate):
    sealed = await first_round(endpoint, user="ann")
    assert_refused(await confirm(endpoint, sealed), gate)


async def test_a_state_belongs_to_its_arguments(endpoint, gate):
    sealed = await first_round(endpoint)
    assert_refused(await confirm(endpoint, sealed, what="another"), gate)


async def test_an_expired_state_is_refused(endpoint, gate, monkeypatch):
    sealed = await first_round(endpoint)
    tomorrow = SimpleNamespace(time=lambda: time.time() + 24 * 3600)
    monkeypatch.setattr("mcp.server.request_state.time", tomorrow)
    assert_refused(await confirm(endpoint, sealed), gate)
