"""2026-07-28, `subscriptions/listen`: acknowledged, told only what was asked for, on any node, to the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, later, send_sessionless, text_of
from tests.support.clock import FakeClock, settle
from tests.support.stores import left_behind

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
EVERYTHING = {"toolsListChanged": True, "resourceSubscriptions": ["test://watched"]}
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
LIST, UPDATED = "notifications/tools/list_changed", "notifications/resources/updated"


async def listen(endpoint: Endpoint, wanted: dict[str, Any] = EVERYTHING, **options: Any) -> Answer:
    return await send_sessionless(endpoint, "subscriptions/listen", {"notifications": wanted}, **options)


async def announce(endpoint: Endpoint) -> None:
    answer = await send_sessionless(endpoint, "tools/call", {"name": "announce", "arguments": {}}, id="announcement")
    assert text_of(answer.json) == "announced"


async def test_it_is_acknowledged_first_and_every_message_names_the_subscription(endpoint: Endpoint) -> None:
    listeners = {id: await listen(endpoint, id=id) for id in (9, "9")}
    await announce(endpoint)
    for id, answer in listeners.items():
        seen = [await answer.message() for _ in range(3)]
        assert [message["method"] for message in seen] == [ACKNOWLEDGED, LIST, UPDATED]
        assert seen[0]["params"]["notifications"] == EVERYTHING
        assert seen[2]["params"]["uri"] == "test://watched"
        named = [message["params"]["_meta"][SUBSCRIPTION] for message in seen]
        assert [*map(repr, named)] == [repr(id)] * 3, "an integer stays one"


async def test_a_stop_ends_it_with_the_final_result(endpoint: Endpoint) -> None:
    answers = {id: await listen(endpoint, id=id) for id in (1, "two")}
    await endpoint.pool.stop()
    for id, answer in answers.items():
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
        ({"toolsListChanged": True}, [LIST]),
        ({"resourceSubscriptions": ["test://watched"]}, [UPDATED]),
    ],
)
async def test_only_what_was_asked_for_is_sent(endpoint: Endpoint, wanted: dict[str, Any], kinds: list[str]) -> None:
    answer = await listen(endpoint, wanted)
    await announce(endpoint)
    await settle()
    await endpoint.pool.stop()
    acknowledged, *changes, final = await answer.messages()
    assert acknowledged["method"] == ACKNOWLEDGED
    assert [message["method"] for message in changes] == kinds
    assert "result" in final


async def test_listeners_hear_of_changes_on_any_node(nodes: tuple[Endpoint, Endpoint]) -> None:
    listeners = [await listen(node, {"toolsListChanged": True}, id=id) for id, node in enumerate(nodes)]
    for node in nodes:
        await announce(node)
    await settle()
    for node in nodes:
        await node.pool.stop()
    for listener in listeners:
        methods = [message.get("method") for message in await listener.messages()]
        assert methods == [ACKNOWLEDGED, LIST, LIST, None]


async def test_a_listener_that_leaves_is_forgotten(endpoint: Endpoint) -> None:
    answer = await listen(endpoint)
    await answer.message()
    assert (await left_behind(endpoint))["listeners"]
    answer.close()
    await settle()
    assert await left_behind(endpoint) == {}


async def test_a_listener_is_kept_alive(endpoint: Endpoint, clock: FakeClock) -> None:
    answer = await listen(endpoint)
    await answer.message()
    assert (await later(clock, 15, answer.event())).comment == "keep-alive"


@pytest.mark.parametrize("options", [{"headers": {"accept": "application/json"}}, {"streaming": False}])
async def test_it_needs_a_stream(endpoint: Endpoint, options: dict[str, Any]) -> None:
    async with asyncio.timeout(60):
        answer = await listen(endpoint, **options)
    assert (answer.status, answer.error_code) == (406, -32600)
