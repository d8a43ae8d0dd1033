"""The GET stream is one, whichever node holds it: in order, once each, superseded and resumed across nodes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from tests.cluster.conftest import each_way
from tests.support.cluster.nodes import Site, numbers, rest, take, texts, until
from tests.support.http.client import Client

Pair = tuple[int, int]

AT_ONCE = 2.0
"""Seconds in which other nodes act; a wake-up that got lost would cost a keep-alive tick of 15."""


async def whisper(client: Client, texts: Sequence[str], ports: Pair) -> None:
    """Have both nodes in turn put messages on the session's GET stream."""
    for text, port in zip(texts, itertools.cycle(ports), strict=False):
        await (await client.call("whisper", {"text": text}, port=port)).text()


@each_way
async def test_messages_of_both_nodes_reach_it_in_order(client: Client, pair: Pair) -> None:
    stream, said = await client.get(port=pair[0]), [str(number) for number in range(20)]
    await whisper(client, said, (pair[1], pair[0]))
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


@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (0, 0), (1, 1)], indirect=True, ids=str)
async def test_a_new_one_supersedes_the_old_one(site: Site, client: Client, pair: Pair) -> None:
    old = await client.get(port=pair[0])
    await old.next_event()
    new = await client.get(port=pair[1])
    assert new.status == 200
    moved = await old.next_event(within=AT_ONCE)
    assert moved is not None
    assert (moved.id, moved.data) == ("g-0-moved", "")
    assert await old.next_event(within=AT_ONCE) is None
    assert not old.broken
    await whisper(client, ["hello", "hello"], (site.ports[0], site.ports[1]))
    assert texts(await take(new, 2)) == ["hello", "hello"]


async def test_it_goes_back_and_forth(client: Client, pair: Pair) -> None:
    """Each take-over has a higher epoch: no late word of an earlier one ends the newest."""
    streams = [await client.get(port=port) for port in [*pair] * 4]
    await whisper(client, ["hello"], pair)
    assert texts(await take(streams[-1], 1)) == ["hello"]
    for stream in streams[:-1]:
        assert await rest(stream) == []


@each_way
@pytest.mark.parametrize("seen", range(4))
async def test_it_is_resumed_after_each_event(client: Client, pair: Pair, seen: int) -> None:
    first = await client.get(port=pair[0])
    await first.next_event()
    await whisper(client, "abc", pair)
    events = await take(first, seen)
    first.cut()
    await whisper(client, "de", pair)
    second = await client.get(first.last_event_id, port=pair[1])
    await whisper(client, "f", pair)
    events += await take(second, 6 - seen)
    assert texts(events) == [*"abcdef"]
    assert numbers(events) == [*range(1, 7)]


@each_way
async def test_opened_anew_it_begins_where_the_last_one_ended(site: Site, client: Client, pair: Pair) -> None:
    await whisper(client, "a", pair)  # before the first one: it is kept for it
    first = await client.get(port=pair[0])
    await whisper(client, "b", pair)
    assert texts(await take(first, 2)) == ["a", "b"]
    await first.close()
    await until(lambda: site.stream(client)["delivered"] == 2)
    await whisper(client, "c", pair)
    second = await client.get(port=pair[1])
    await whisper(client, "d", pair)
    assert texts(await take(second, 2)) == ["c", "d"]
