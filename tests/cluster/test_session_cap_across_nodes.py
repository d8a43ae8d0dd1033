"""A caller's sessions are limited on all nodes together, also when each of them runs a call."""

from __future__ import annotations

import asyncio

from tests.support.cluster.stage import Stage
from tests.support.http.client import Client
from tests.support.http.messages import rpc

LIMIT = 5
CLIENTS = 20


async def open_and_call(stage: Stage, number: int) -> tuple[Client, int]:
    """Open a session on one of the nodes, and run a call in it."""
    client = Client(stage.ports[number % 2], headers={"Accept": "application/json, text/event-stream"})
    info = {"name": "many", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    answer = await client.post(rpc("initialize", params, number))
    body = await answer.outcome()
    if answer.status == 200:
        client.session_id = answer.headers["mcp-session-id"]
        await client.call("silent", {"name": f"busy-{number}"})
    else:
        assert body["id"] == number
        assert int(answer.headers["retry-after"]) > 0
    return client, answer.status


async def test_what_two_nodes_are_asked_at_once_is_counted_once() -> None:
    with Stage(SSE_AFTER_SECONDS=0.2, MAX_SESSIONS_PER_PRINCIPAL=LIMIT) as stage:
        found = [await open_and_call(stage, number) for number in range(LIMIT)]
        assert [status for _, status in found] == [200] * LIMIT
        others = await asyncio.gather(*(open_and_call(stage, LIMIT + number) for number in range(CLIENTS)))
        assert [status for _, status in others] == [429] * CLIENTS
        assert [(await (await client.request("ping")).outcome())["result"] for client, _ in found] == [{}] * LIMIT
        assert len(stage.redis.ask("ZRANGE", "mcp:sessions", 0, -1)) == LIMIT
        # One that leaves makes room for one; of those that get it, each is idle until its call begins.
        assert (await found[0][0].delete()).status == 204
        last = await asyncio.gather(*(open_and_call(stage, 100 + number) for number in range(CLIENTS)))
        opened = [client for client, status in [*found[1:], *last] if status == 200]
        alive = [(await client.request("ping")).status for client in opened].count(200)
        assert alive == LIMIT
        for client, _ in (*found, *others, *last):
            await client.__aexit__()
