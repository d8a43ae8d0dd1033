"""What changes on the server is told to everybody who asked, whichever node they are at: once, and in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from tests.cluster.conftest import each_way
from tests.support.cluster.nodes import Site, numbers, take, until
from tests.support.http.answer import Event
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer

Pair = tuple[int, int]

WATCHED = ["test://watched", "test://one", "test://two"]
TOOLS = "tools"
ALL = {"toolsListChanged": True, "resourceSubscriptions": WATCHED}


async def announce(client: Client, uris: Sequence[str], ports: Sequence[int]) -> None:
    """Have a tool announce changes: the tools each time, and a resource."""
    for uri, port in zip(uris, ports, strict=True):
        await (await client.call("announce", {"uri": uri}, port=port)).text()


async def subscribe(client: Client, uris: Sequence[str], port: int) -> None:
    """Have a session hear of resources."""
    for uri in uris:
        assert "result" in await (await client.request("resources/subscribe", {"uri": uri}, port=port)).outcome()


async def listen(client: Client, port: int, wanted: dict[str, Any] = ALL) -> SocketAnswer:
    """Open a listen stream and wait until it listens."""
    answer = await client.alone("subscriptions/listen", {"notifications": wanted}, port=port)
    message = await answer.next_message()
    assert message is not None
    assert message["method"] == "notifications/subscriptions/acknowledged"
    return answer


async def heard(stream: SocketAnswer, count: int) -> list[str]:
    """Read so many announcements from a stream."""
    found: list[str] = []
    while len(found) < count:
        message = await stream.next_message()
        assert message is not None, f"the stream ended after {found}"
        if message["method"] == "notifications/tools/list_changed":
            found.append(TOOLS)
        else:
            assert message["method"] == "notifications/resources/updated"
            found.append(message["params"]["uri"])
    return found


def told(uris: Sequence[str]) -> list[str]:
    """Return what is heard of announcements."""
    return [word for uri in uris for word in (TOOLS, uri)]


@each_way
async def test_streams_of_both_nodes_hear_of_changes_on_either(site: Site, client: Client, pair: Pair) -> None:
    async with site.client() as other:
        await other.initialize()
        streams = [await listen(client, port) for port in pair]
        for one, port in zip((client, other), pair, strict=True):
            await subscribe(one, WATCHED, pair[0] if port == pair[1] else pair[1])
            streams.append(await one.get(port=port))
        uris = [*WATCHED, *WATCHED]
        await announce(client, uris, [*pair] * 3)
        for stream in streams:
            assert await heard(stream, len(told(uris))) == told(uris)
        # Nothing came twice: the next thing is the next change.
        await announce(client, ["test://two"], pair[1:])
        for stream in streams:
            assert await heard(stream, 2) == told(["test://two"])


@each_way
@pytest.mark.parametrize("with_id", [True, False], ids=["resumed", "opened-anew"])
async def test_changes_while_the_stream_was_closed_are_told_when_it_is_opened_elsewhere(
    site: Site, client: Client, pair: Pair, with_id: bool
) -> None:
    await subscribe(client, WATCHED, pair[0])
    first = await client.get(port=pair[0])
    await announce(client, WATCHED[:1], pair[1:])
    assert await heard(first, 2) == told(WATCHED[:1])
    await first.close()
    await until(lambda: site.stream(client)["delivered"] == 2)
    await announce(client, WATCHED, [*pair, pair[0]])
    second = await client.get(first.last_event_id if with_id else None, port=pair[1])
    await announce(client, WATCHED[2:], pair[:1])
    assert await heard(second, 8) == told([*WATCHED, *WATCHED[2:]])


@each_way
async def test_stream_that_moves_while_changes_are_announced_misses_none(client: Client, pair: Pair) -> None:
    """For a moment both nodes take themselves for the holder: each change is told once, in order, all the same."""
    uris = [f"test://{number}" for number in range(30)]
    await subscribe(client, uris, pair[0])

    async def announce_all() -> None:
        await announce(client, uris, [*pair] * 15)

    announcing = asyncio.create_task(announce_all())
    events: list[Event] = []
    stream, ports = await client.get(port=pair[0]), itertools.cycle(reversed(pair))
    while len(events) < 2 * len(uris):
        events += await take(stream, 1)
        previous, stream = stream, await client.get(events[-1].id, port=next(ports))
        if len(events) % 3:
            previous.cut()
    await announcing
    told_uris = [event.message["params"]["uri"] for event in events if "params" in event.message]
    assert told_uris == uris
    assert numbers(events) == [*range(1, 2 * len(uris) + 1)]


async def test_changes_announced_at_once_are_each_told_once(client: Client, pair: Pair) -> None:
    """Whichever of them reaches a node first, all streams tell them in the same order."""
    uris = [f"test://{number}" for number in range(40)]
    await subscribe(client, uris, pair[0])
    stream = await client.get(port=pair[0])
    listening = [await listen(client, port, {"resourceSubscriptions": uris}) for port in pair]
    for start in range(0, len(uris), 4):
        some = uris[start : start + 4]
        await asyncio.gather(*(announce(client, [uri], [port]) for uri, port in zip(some, [*pair] * 2, strict=True)))
    found = [word for word in await heard(stream, 2 * len(uris)) if word != TOOLS]
    assert sorted(found) == sorted(uris)
    for listener in listening:
        assert await heard(listener, len(uris)) == found


async def test_session_hears_nothing_of_what_was_before_it(site: Site, client: Client, pair: Pair) -> None:
    await announce(client, WATCHED, [*pair, pair[0]])
    async with site.client() as later:
        await later.initialize(port=pair[1])
        stream = await later.get(port=pair[0])
        await subscribe(later, WATCHED, pair[1])
        await announce(client, ["test://one"], pair[:1])
        assert await heard(stream, 2) == told(["test://one"])
