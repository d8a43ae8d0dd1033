"""`notifications/cancelled` may land on any node, before its request or after it."""

from __future__ import annotations

import asyncio

import pytest

from mcp_transport.domain.session import session_key
from tests.cluster.conftest import each_way
from tests.support.cluster.nodes import Site, rest
from tests.support.http.client import Client

Pair = tuple[int, int]


@each_way
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
    refused = await (await client.call("count", {"name": name}, id=name, port=late)).outcome()
    assert (refused["id"], refused["error"]["code"]) == (name, -32800)
    assert not site.pids(name)
    site.let_go(name)
    assert "counted" in await (await client.call("count", {"name": name}, id=name, port=late)).text()


async def test_early_cancels_without_end_are_not_kept_without_end(site: Site, client: Client, pair: Pair) -> None:
    for number in range(150):
        cancelled = await client.notify("notifications/cancelled", {"requestId": number}, port=pair[number % 2])
        assert cancelled.status == 202
    assert site.redis.ask("ZCARD", f"mcp:{{{session_key(client.session_id)}}}:c") <= 100
