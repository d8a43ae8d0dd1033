"""How many sessions a caller may have: the idlest one makes room, and 429 where all are busy."""

from __future__ import annotations

from tests.support.calls import opened
from tests.support.client import SessionClient, request, send, silent
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate


async def alive(*clients: SessionClient) -> list[int]:
    return [(await client.request("ping")).status for client in clients]


async def test_the_idlest_session_makes_room_for_a_new_one(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_sessions_per_principal=2)
    busy, idle, stranger, newest = [SessionClient(endpoint, user=user) for user in ("ann", "ann", "bob", "ann")]
    for client in (busy, idle, stranger):
        await client.open()
        await clock.advance(1)
    running = await silent(clock, gate.entered, busy.call("blocked"))
    await idle.request("ping")
    await settle()
    await newest.open()
    assert await alive(busy, idle, stranger, newest) == [200, 404, 200, 200]
    gate.open.set()
    assert await running.text() == "through"


async def test_when_all_sessions_of_a_caller_are_busy_it_gets_no_other(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_sessions_per_principal=2)
    busy, other, stranger = [await opened(endpoint, user=user) for user in ("ann", "ann", "bob")]
    running = [await silent(clock, gate.entered, client.call("blocked")) for client in (busy, other)]
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    refused = await send(endpoint, body=request("initialize", params, id="one-more"), user="ann")
    assert (refused.status, refused.error_code, refused.json["id"]) == (429, -32600, "one-more")
    assert refused.headers["retry-after"] == "5"
    assert "mcp-session-id" not in refused.headers
    assert "2 sessions" in refused.json["error"]["message"]
    assert endpoint.call_metrics.since_start().refused == {"429": 1}
    assert await alive(busy, other, stranger) == [200, 200, 200]
    gate.open.set()
    assert [await answer.text() for answer in running] == ["through", "through"]
    await settle()
    assert (await send(endpoint, body=request("initialize", params), user="ann")).status == 200
