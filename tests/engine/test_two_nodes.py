"""Two nodes that share a store: any of them serves any request of a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.backends.memory import MemoryBackend
from tests.support.client import SessionClient, send_sessionless, silent, text_of
from tests.support.clock import settle
from tests.support.stores import left_behind


@pytest.fixture
async def nodes(build_endpoint: Any, endpoint: Any, clock: Any) -> tuple[Any, Any]:
    store = MemoryBackend(endpoint.policy, clock.now)
    return build_endpoint(store), build_endpoint(store)


@pytest.fixture
async def here(nodes: Any) -> SessionClient:
    """A client whose requests go to the first node, unless they name `there`."""
    client = SessionClient(nodes[0])
    await client.open()
    return client


@pytest.fixture
def there(nodes: Any, here: SessionClient) -> dict[str, Any]:
    """What sends a request to the other node."""
    return {"endpoint": nodes[1]}


async def texts(answer: Any, count: int) -> list[str]:
    return [(await answer.message())["params"]["data"] for _ in range(count)]


def progress(messages: list[dict[str, Any]]) -> list[int]:
    return [message["params"]["progress"] for message in messages if "method" in message]


async def test_the_nodes_are_two(nodes, here):
    assert (await nodes[0].node()).id != (await nodes[1].node()).id


async def test_a_post_may_go_to_any_node(here, there):
    assert text_of((await here.call("add", {"a": 1, "b": 2}, **there)).json) == "3"
    assert (await here.request("logging/setLevel", {"level": "error"}, **there)).status == 200
    answer = await here.call("talk", {"level": "info"})
    assert answer.stream is None, "the level was set on the other node"


async def test_the_get_stream_carries_what_the_other_node_produced(here, there):
    stream = await here.get()
    await here.call("whisper", {"text": "from there"}, **there)
    await here.call("whisper", {"text": "from here"})
    await here.call("whisper", {"text": "from there again"}, **there)
    assert await texts(stream, 3) == ["from there", "from here", "from there again"]


async def test_a_change_announced_anywhere_is_told_once(here, there, gate):
    await here.request("resources/subscribe", {"uri": "test://watched"}, **there)
    stream = await here.get()
    call = await here.call("count", {"steps": 1}, **there)
    await call.message()
    await here.call("announce", **there)
    await here.call("announce")
    await settle()
    await here.call("whisper", {"text": "end"})
    methods = [(await stream.message())["method"] for _ in range(5)]
    assert methods == ["notifications/tools/list_changed", "notifications/resources/updated"] * 2 + [
        "notifications/message"
    ]


async def test_a_get_stream_that_moved_to_another_node_is_told_of_a_change_once(here, there):
    first = await here.get()
    await first.frame()
    first.close()
    await settle()
    second = await here.get(**there)
    await here.call("announce")
    await settle()
    await here.call("whisper", {"text": "end"})
    methods = [(await second.message())["method"] for _ in range(2)]
    assert methods == ["notifications/tools/list_changed", "notifications/message"]


async def test_a_get_on_the_other_node_supersedes_the_first(here, there):
    first = await here.get()
    await first.frame()
    second = await here.get(**there)
    assert (await first.frame()).id == "g-0-moved"
    assert await first.frame() is None
    await here.call("whisper", {"text": "one"})
    assert await texts(second, 1) == ["one"]


# -- resuming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(4))
async def test_a_running_call_is_resumed_on_the_other_node(here, there, gate, cut):
    answer = await here.call("count", {"steps": 3})
    frames = [await answer.frame() for _ in range(cut + 1)]
    answer.close()
    await settle()
    resumed = await here.get(frames[-1].id, **there)
    gate.open.set()
    messages = await resumed.messages()
    assert progress(messages) == list(range(cut + 1, 5))
    assert text_of(messages[-1]) == "counted"


@pytest.mark.parametrize("cut", range(6))
async def test_a_finished_call_is_resumed_on_the_other_node(here, there, gate, cut):
    gate.open.set()
    answer = await here.call("count", {"steps": 3})
    frames = [await answer.frame() for _ in range(cut + 1)]
    answer.close()
    await settle()
    resumed = await here.get(frames[-1].id, **there)
    if cut == 5:
        assert (resumed.status, resumed.body) == (204, b""), "nothing is left"
        return
    *told, result = await resumed.messages()
    assert progress(told) == list(range(cut + 1, 5))
    assert text_of(result) == "counted"


async def test_a_stream_wanders_from_node_to_node(here, there, gate):
    answer = await here.call("burst", {"steps": 6, "pause": True})
    first = await answer.frame()
    answer.close()
    gate.open.set()
    await gate.wait(gate.left)
    await settle()
    last, seen = first.id, []
    for options in (there, {}, there):
        answer = await here.get(last, **options)
        await answer.frame()
        frames = [await answer.frame() for _ in range(2)]
        seen += [frame.message["params"]["progress"] for frame in frames]
        last = frames[-1].id
        answer.close()
        await settle()
    answer = await here.get(last, **there)
    gate.open.set()
    messages = await answer.messages()
    assert [*seen, *progress(messages)] == list(range(7))
    assert text_of(messages[-1]) == "burst"


@pytest.mark.parametrize("answered", [True, False])
async def test_a_retry_on_the_other_node_gets_the_answer_and_the_tool_runs_once(here, there, clock, gate, answered):
    first = asyncio.ensure_future(here.call("blocked", id=1))
    await gate.wait(gate.entered)
    if answered:
        await clock.advance(1.0)
    again = await here.call("blocked", id=1, **there)
    gate.open.set()
    assert await again.text() == "through"
    assert gate.runs == 1
    answer = await first
    assert answer.stream is None or await answer.messages() == [] or answered is False


async def test_a_call_cut_off_by_a_stopping_node_ends_with_an_error_on_the_other(here, there, nodes, gate):
    answer = await here.call("count", {"steps": 1}, id="cut")
    first = await answer.frame()
    await gate.wait(gate.entered)
    await settle()
    await nodes[0].stop()
    assert not any("result" in message for message in await answer.messages())
    *_, last = await (await here.get(first.id, **there)).messages()
    assert last["id"] == "cut"
    assert "error" in last, "the client must not be left without an answer"


# -- messages that land elsewhere ---------------------------------------------------------------------


async def test_a_reply_may_land_on_the_other_node(here, there):
    answer = await here.call("ask")
    question = await answer.message()
    reply = await here.reply(question["id"], {"action": "accept", "content": {"name": "Ann"}}, **there)
    assert (reply.status, reply.body) == (202, b"")
    assert await answer.text() == "accept Ann"


async def test_a_forged_reply_is_refused_by_the_other_node_too(here, there):
    question = await (await here.call("ask")).message()
    forged = question["id"][:-1] + ("0" if question["id"][-1] != "0" else "1")
    assert (await here.reply(forged, {"action": "accept"}, **there)).status == 400


async def test_a_cancel_may_land_on_the_other_node(here, there, clock, gate):
    answer = await silent(clock, gate.entered, here.call("blocked", id=1))
    assert (await here.notify("notifications/cancelled", {"requestId": 1}, **there)).status == 202
    await gate.wait(gate.left)
    assert gate.cancelled
    assert await answer.messages() == []


async def test_a_cancel_may_land_on_the_other_node_before_its_request(here, there, gate):
    assert (await here.notify("notifications/cancelled", {"requestId": 1}, **there)).status == 202
    answer = await here.call("add", {"a": 1, "b": 2}, id=1)
    assert answer.stream is None or await answer.messages() == []
    assert gate.runs == 0


async def test_a_delete_on_the_other_node_ends_calls_and_streams(here, there, nodes, clock, gate):
    call = await silent(clock, gate.entered, here.call("blocked"))
    stream = await here.get()
    await stream.frame()
    assert (await here.delete(**there)).status == 204
    await gate.wait(gate.left)
    assert gate.cancelled
    assert await stream.messages() == []
    assert [message["error"]["data"] for message in await call.messages()] == [{"retryable": False}]
    for node in nodes:
        assert await left_behind(node) == {}
    assert (await here.request("ping")).status == 404


async def test_two_nodes_cannot_run_one_id_side_by_side(here, there, clock, gate):
    first = await silent(clock, gate.entered, here.call("blocked", id=1))
    refused = await here.call("add", {"a": 1, "b": 2}, id=1, **there)
    assert (refused.status, gate.runs) == (400, 1)
    gate.open.set()
    assert await first.text() == "through"


async def test_listeners_hear_of_changes_on_any_node(nodes):
    wanted = {"notifications": {"toolsListChanged": True}}
    listeners = [await send_sessionless(node, "subscriptions/listen", wanted, id=id) for id, node in enumerate(nodes)]
    for node in nodes:
        await send_sessionless(node, "tools/call", {"name": "announce", "arguments": {}})
    await settle()
    for node in nodes:
        await node.stop()
    for listener in listeners:
        methods = [message.get("method") for message in await listener.messages()]
        assert methods == [
            "notifications/subscriptions/acknowledged",
            "notifications/tools/list_changed",
            "notifications/tools/list_changed",
            None,
        ]


async def test_a_session_hears_of_a_change_made_by_a_sessionless_call_elsewhere(here, nodes):
    stream = await here.get()
    await send_sessionless(nodes[1], "tools/call", {"name": "announce", "arguments": {}})
    assert (await stream.message())["method"] == "notifications/tools/list_changed"
