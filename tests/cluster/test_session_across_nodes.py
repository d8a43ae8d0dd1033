"""A session belongs to no node: calls, tools' state, log level and its end are the same on all of them."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cluster.nodes import Site, rest, texts
from tests.support.http.client import Client

Pair = tuple[int, int]

AT_ONCE = 2.0
"""Seconds in which other nodes act; a wake-up that got lost would cost a keep-alive tick of 15."""


async def test_every_call_runs_on_the_node_it_lands_on(site: Site, client: Client) -> None:
    for node in [*site.nodes, *site.nodes]:
        assert await (await client.call("where", port=node.port)).text() == str(node.pid)


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_what_was_negotiated_on_one_node_holds_on_the_other(site: Site, pair: Pair, version: str) -> None:
    async with site.client() as client:
        await client.initialize(port=pair[0], version=version, capabilities={})
        assert client.version == version
        assert await (await client.call("add", {"a": 1, "b": 2}, port=pair[1])).text() == "3"
        tools = await (await client.request("tools/list", port=pair[1])).outcome()
        assert "add" in {tool["name"] for tool in tools["result"]["tools"]}
        outcome = await (await client.call("roots", port=pair[1])).outcome()
        assert "error" in outcome or outcome["result"]["isError"], "it cannot be asked"


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


@pytest.mark.parametrize("get_at", [0, 1], ids=["GET-at-the-same", "GET-at-the-other"])
async def test_delete_ends_calls_and_streams_everywhere_at_once(
    site: Site, client: Client, pair: Pair, get_at: int
) -> None:
    names = [site.new_name() for _ in range(4)]
    stream = await client.get(port=pair[get_at])
    counting = [
        await client.call("count", {"name": name}, port=port) for name, port in zip(names[:2], pair, strict=True)
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
