"""Any request of a session may land on any node: calls, tools' state, log level, the GET stream, cancels, the end."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site, numbers, rest, take, texts

Pair = tuple[int, int]

AT_ONCE = 2.0
"""Seconds in which other nodes act; a wake-up that got lost would cost a keep-alive tick of 15."""


# -- POST ------------------------------------------------------------------------------------------------


async def test_every_call_runs_on_the_node_it_lands_on(site: Site, client: Client) -> None:
    for node in [*site.nodes, *site.nodes]:
        assert await (await client.call("where", port=node.port)).text() == str(node.pid)


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_session_opened_on_one_node_is_known_to_the_other(site: Site, pair: Pair, version: str) -> None:
    opener, other = pair
    async with site.client() as client:
        await client.initialize(port=opener, version=version)
        assert client.version == version
        assert await (await client.call("add", {"a": 1, "b": 2}, port=other)).text() == "3"
        tools = await (await client.request("tools/list", port=other)).outcome()
        assert "add" in {tool["name"] for tool in tools["result"]["tools"]}


async def test_client_that_cannot_be_asked_is_not_asked_by_another_node(site: Site, pair: Pair) -> None:
    async with site.client() as client:
        await client.initialize(port=pair[0], capabilities={})
        outcome = await (await client.call("roots", port=pair[1])).outcome()
        assert "error" in outcome or outcome["result"]["isError"]


async def test_notifications_are_acknowledged_everywhere(client: Client) -> None:
    for port in client.ports:
        assert (await client.notify("notifications/roots/list_changed", port=port)).status == 202


# -- what belongs to the session --------------------------------------------------------------------------


async def test_what_a_tool_keeps_is_there_on_the_other_node(site: Site, client: Client, pair: Pair) -> None:
    first, second = pair
    assert await (await client.call("recall", {"name": "colour"}, port=second)).text() == ""
    await (await client.call("remember", {"name": "colour", "value": "red"}, port=first)).text()
    assert await (await client.call("recall", {"name": "colour"}, port=second)).text() == "red"
    await (await client.call("remember", {"name": "colour", "value": "blue"}, port=second)).text()
    assert await (await client.call("recall", {"name": "colour"}, port=first)).text() == "blue"
    async with site.client() as stranger:
        await stranger.initialize()
        assert await (await stranger.call("recall", {"name": "colour"}, port=second)).text() == ""


async def test_log_level_set_on_one_node_holds_on_the_other(client: Client, pair: Pair) -> None:
    setter, speaker = pair
    for level, heard in [("error", []), ("debug", ["quietly"])]:
        assert "result" in await (await client.request("logging/setLevel", {"level": level}, port=setter)).outcome()
        answer = await client.call("say", {"level": "info", "text": "quietly"}, port=speaker)
        events = await rest(answer) if answer.is_stream else []
        assert texts([event for event in events if "method" in event.message]) == heard


# -- the GET stream ---------------------------------------------------------------------------------------


async def test_messages_of_both_nodes_reach_the_get_stream_in_order(client: Client, pair: Pair) -> None:
    holder, other = pair
    stream = await client.get(port=holder)
    said = [f"{number} at {port}" for number in range(10) for port in (other, holder)]
    for text in said:
        await (await client.call("whisper", {"text": text}, port=int(text.split()[-1]))).text()
    events = await take(stream, len(said))
    assert texts(events) == said
    assert numbers(events) == [*range(1, len(said) + 1)]


async def test_messages_written_by_both_nodes_at_once_arrive_once_each(client: Client, pair: Pair) -> None:
    stream = await client.get(port=pair[0])
    said = [f"{number} at {port}" for number in range(10) for port in pair]
    answers = [client.call("whisper", {"text": text}, port=int(text.split()[-1])) for text in said]
    for answer in await asyncio.gather(*answers):
        await answer.text()
    events = await take(stream, len(said))
    assert sorted(texts(events)) == sorted(said)
    assert numbers(events) == [*range(1, len(said) + 1)]


@pytest.mark.parametrize("elsewhere", [True, False], ids=["on-the-other", "on-the-same"])
async def test_new_get_stream_supersedes_the_old_one(client: Client, pair: Pair, elsewhere: bool) -> None:
    old_port, new_port = pair if elsewhere else (pair[0], pair[0])
    old = await client.get(port=old_port)
    await old.next_event()
    new = await client.get(port=new_port)
    assert new.status == 200
    moved = await old.next_event(within=AT_ONCE)
    assert moved is not None
    assert (moved.id, moved.data) == ("g-0-moved", "")
    assert await old.next_event(within=AT_ONCE) is None
    assert not old.broken
    for port in pair:
        await (await client.call("whisper", {"text": "hello"}, port=port)).text()
    assert texts(await take(new, 2)) == ["hello", "hello"]


async def test_get_stream_goes_back_and_forth(client: Client, pair: Pair) -> None:
    """Each take-over has a higher epoch: no late word of an earlier one ends the newest."""
    streams = [await client.get(port=port) for port in [*pair] * 4]
    await (await client.call("whisper", {"text": "hello"}, port=pair[0])).text()
    assert texts(await take(streams[-1], 1)) == ["hello"]
    for stream in streams[:-1]:
        assert await rest(stream) == []


# -- cancels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["count", "silent"])
async def test_cancel_that_lands_elsewhere_stops_the_call(site: Site, client: Client, pair: Pair, tool: str) -> None:
    runner, other = pair
    name = site.new_name()
    calling = asyncio.create_task(client.call(tool, {"name": name}, id="victim", port=runner))
    await site.until_runs(name)
    bystander = await client.call("count", {"name": f"{name}b"}, id="bystander", port=runner)
    assert (await client.notify("notifications/cancelled", {"requestId": "victim"}, port=other)).status == 202
    await site.until_cancelled(name)
    assert not [event for event in await rest(await calling) if "method" not in event.message]
    site.let_go(f"{name}b")
    assert "counted" in await bystander.text()


async def test_cancel_that_comes_before_its_request_keeps_it_from_running(
    site: Site, client: Client, pair: Pair
) -> None:
    early, late = pair
    name = site.new_name()
    assert (await client.notify("notifications/cancelled", {"requestId": name}, port=early)).status == 202
    refused = await (await client.call("count", {"name": name}, id=name, port=late)).json()
    assert (refused["id"], refused["error"]["code"]) == (name, -32800)
    assert not site.pids(name)
    site.let_go(name)
    assert "counted" in await (await client.call("count", {"name": name}, id=name, port=late)).text()


async def test_cancel_of_a_string_id_leaves_the_number_alone(site: Site, client: Client, pair: Pair) -> None:
    name = site.new_name()
    call = await client.call("count", {"name": name}, id=77, port=pair[0])
    assert (await client.notify("notifications/cancelled", {"requestId": "77"}, port=pair[1])).status == 202
    site.let_go(name)
    assert "counted" in await call.text()
    assert not site.pids(name, "cancelled")


# -- DELETE -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("get_at", [0, 1])
async def test_delete_ends_calls_and_streams_everywhere_at_once(
    site: Site, client: Client, pair: Pair, get_at: int
) -> None:
    names = [site.new_name() for _ in range(4)]
    stream = await client.get(port=pair[get_at])
    counting = [
        await client.call("count", {"name": name}, port=port) for name, port in zip(names, pair, strict=False)
    ]
    silent = [
        asyncio.create_task(client.call("silent", {"name": name}, port=port))
        for name, port in zip(names[2:], pair, strict=True)
    ]
    for name in names:
        await site.until_runs(name)
    assert (await client.delete(port=pair[0])).status == 204
    async with asyncio.timeout(AT_ONCE):
        for name in names:
            await site.until_cancelled(name)
        assert all("method" in event.message for event in await rest(stream))
        for answer in [*counting, *await asyncio.gather(*silent)]:
            outcome = (await rest(answer))[-1].message if answer.is_stream else await answer.json()
            assert outcome["error"]["message"].startswith("its session was ended before the call ended")
    for port in pair:
        assert (await client.call("add", {"a": 1, "b": 1}, port=port)).status == 404
        assert (await client.get(port=port)).status == 404
        assert (await client.get("g-0", port=port)).status == 404
        assert (await client.delete(port=port)).status == 404
