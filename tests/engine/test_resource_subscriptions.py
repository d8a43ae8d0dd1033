"""What a session hears of changes: resources it subscribed to, on any node, within limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, send_sessionless
from tests.support.clock import settle
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend

LIST, UPDATED = "notifications/tools/list_changed", "notifications/resources/updated"
MESSAGE = "notifications/message"


def key_of(client: SessionClient) -> str:
    return session_key(client.session_id)


async def subscriptions(client: SessionClient) -> frozenset[str]:
    return await client.endpoint.backend.sessions.subscriptions(key_of(client))


async def announce(endpoint: Endpoint) -> None:
    await send_sessionless(endpoint, "tools/call", {"name": "announce", "arguments": {}})


async def methods(stream: Answer, count: int) -> list[str]:
    return [(await stream.message())["method"] for _ in range(count)]


async def test_subscribers_hear_of_a_resource_until_they_unsubscribe(client: SessionClient) -> None:
    stream = await client.get()
    await stream.frame()
    await client.request("resources/subscribe", {"uri": "test://watched"})
    await client.call("announce")
    assert (await stream.message())["method"] == LIST
    change = await stream.message()
    assert (change["method"], change["params"]["uri"]) == (UPDATED, "test://watched")
    await client.request("resources/unsubscribe", {"uri": "test://watched"})
    await client.call("announce")
    await settle()  # changes are told behind the call that announced them
    await client.call("whisper", {"text": "end"})
    assert await methods(stream, 2) == [LIST, MESSAGE]


async def test_a_session_may_not_subscribe_without_end(client: SessionClient) -> None:
    for number in range(1000):
        assert await client.endpoint.backend.sessions.subscribe(key_of(client), f"test://{number}", True, 1000, 65536)
    refused = await client.request("resources/subscribe", {"uri": "test://too-many"})
    assert refused.error_code == -32602
    assert "1000 resources" in refused.json["error"]["message"]
    assert len(await subscriptions(client)) == 1000


@pytest.mark.parametrize("letter", ["x", "\u00e9"])
async def test_a_session_may_not_subscribe_to_long_uris_without_end(client: SessionClient, letter: str) -> None:
    uris = [f"test://{number}/".ljust(2040, "x") for number in range(40)]
    if letter != "x":
        uris = [uri[:1000].replace("x", letter) + "x" * 40 for uri in uris]
    answers = [await client.request("resources/subscribe", {"uri": uri}) for uri in uris]
    refused = next(answer for answer in answers if "error" in answer.json)
    assert (refused.status, refused.error_code) == (200, -32602)
    assert "65536 bytes" in refused.json["error"]["message"]
    assert len(refused.body) < 500
    kept = await subscriptions(client)
    assert 60_000 < sum(len(uri.encode()) for uri in kept) <= 65536
    for uri in kept:
        assert (await client.request("resources/subscribe", {"uri": uri})).json["result"] == {}, "it is there"
    for uri in uris:
        assert (await client.request("resources/unsubscribe", {"uri": uri})).json["result"] == {}
    assert await subscriptions(client) == frozenset()


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize("length", [3000, 100_000])
async def test_a_resource_uri_that_is_too_long_is_refused(client: SessionClient, method: str, length: int) -> None:
    refused = await client.request(method, {"uri": "test://" + "x" * length})
    assert refused.error_code == -32602
    assert len(refused.body) < 300


async def test_changes_are_kept_for_a_client_that_is_coming_back(client: SessionClient) -> None:
    await client.request("resources/subscribe", {"uri": "test://watched"})
    first = await client.get()
    await first.frame()
    first.close()
    await settle()
    await client.call("announce")
    assert await methods(await client.get(), 2) == [LIST, UPDATED]


# -- two nodes ----------------------------------------------------------------------------------------


async def test_a_change_announced_anywhere_is_told_once(here: SessionClient, there: dict[str, Any]) -> None:
    await here.request("resources/subscribe", {"uri": "test://watched"}, **there)
    stream = await here.get()
    await (await here.call("count", {"steps": 1}, **there)).message()
    await here.call("announce", **there)
    await here.call("announce")
    await settle()
    await here.call("whisper", {"text": "end"})
    assert await methods(stream, 5) == [LIST, UPDATED, LIST, UPDATED, MESSAGE]


async def test_a_get_stream_that_moved_is_told_of_a_change_once(here: SessionClient, there: dict[str, Any]) -> None:
    first = await here.get()
    await first.frame()
    first.close()
    await settle()
    second = await here.get(**there)
    await here.call("announce")
    await settle()
    await here.call("whisper", {"text": "end"})
    assert await methods(second, 2) == [LIST, MESSAGE]


async def test_a_session_hears_of_a_change_made_by_a_sessionless_call_elsewhere(
    here: SessionClient, nodes: tuple[Endpoint, Endpoint]
) -> None:
    stream = await here.get()
    await announce(nodes[1])
    assert await methods(stream, 1) == [LIST]


async def test_one_session_that_cannot_be_told_does_not_silence_the_others(
    build_endpoint: BuildEndpoint, store: FlakyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = build_endpoint(store)
    streams = []
    for client in [await opened(endpoint) for _ in range(3)]:
        streams.append(await client.get())
        await streams[-1].frame()
    emit, failed = store.emit, list[str]()

    async def emit_once_in_vain(key: str, *message: Any) -> Any:
        if not failed:
            failed.append(key)
            store.away = {"emit"}
        try:
            return await emit(key, *message)
        finally:
            store.away = set()

    monkeypatch.setattr(store, "emit", emit_once_in_vain)
    await announce(endpoint)
    await settle()
    async with asyncio.timeout(60):
        told = [await methods(stream, 1) for stream in streams]
    assert told == [[LIST]] * 3, "the one that could not be told at once is told when the store answers again"
