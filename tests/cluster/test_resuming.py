"""A stream that was cut on one node goes on at another: nothing is lost, nothing comes twice."""

from __future__ import annotations

import itertools

import pytest

from tests.support.cluster.answer import Answer, Event
from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site, numbers, rest, result_of, take, texts, until

Pair = tuple[int, int]

STEPS = 3


@pytest.fixture(params=[(0, 1), (1, 0), (0, 0), (1, 1)], ids=["one-two", "two-one", "one-one", "two-two"])
def pair(site: Site, request: pytest.FixtureRequest) -> Pair:
    """Name the ports of two nodes, or one node twice: it finds its own streams in the log, too."""
    first, second = request.param
    return site.ports[first], site.ports[second]


def check(events: list[Event], steps: int = STEPS) -> None:
    """Look whether these are all events of a `count`, once each and in order."""
    assert numbers(events) == [*range(1, steps + 2)]
    assert [event.message["params"]["progress"] for event in events[:-1]] == [*range(1, steps + 1)]
    assert f"counted to {steps}" in result_of(events[-1].message)


async def counted(site: Site, client: Client, port: int, steps: int = STEPS) -> tuple[Answer, str]:
    """Call `count` and read the event that tells where to resume."""
    name = site.new_name()
    answer = await client.call("count", {"name": name, "steps": steps}, port=port)
    priming = await answer.next_event()
    assert priming is not None
    assert not priming.data
    return answer, name


async def ended(site: Site, client: Client, name: str) -> None:
    """Let a call go on, and wait until its result is in the log."""
    site.let_go(name)
    await until(lambda: not site.calls_in_flight(client))


# -- streams of POSTs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", range(STEPS + 1))
async def test_running_call_is_resumed_after_each_event(site: Site, client: Client, pair: Pair, seen: int) -> None:
    runner, other = pair
    first, name = await counted(site, client, runner)
    events = await take(first, seen)
    first.cut()
    second = await client.get(first.last_event_id, port=other)
    events += await take(second, STEPS - seen)
    site.let_go(name)
    check(events + await rest(second))
    assert len(site.pids(name)) == 1


@pytest.mark.parametrize("seen", range(STEPS + 1))
async def test_finished_call_is_resumed_after_each_event(site: Site, client: Client, pair: Pair, seen: int) -> None:
    first, name = await counted(site, client, pair[0])
    events = await take(first, seen)
    first.cut()
    await ended(site, client, name)
    for port in reversed(pair):  # as often as the client likes
        check(events + await rest(await client.get(first.last_event_id, port=port)))


async def test_what_was_read_to_its_end_gives_nothing_more(site: Site, client: Client, pair: Pair) -> None:
    first, name = await counted(site, client, pair[0])
    site.let_go(name)
    check(await rest(first))
    await until(lambda: not site.calls_in_flight(client))
    assert (await client.get(first.last_event_id, port=pair[1])).status == 204


async def test_call_is_followed_from_node_to_node(site: Site, client: Client, pair: Pair) -> None:
    steps = 8
    answer, name = await counted(site, client, pair[0], steps)
    events: list[Event] = []
    for port in itertools.islice(itertools.cycle(reversed(pair)), steps):
        events += await take(answer, 1)
        answer.cut()
        answer = await client.get(events[-1].id, port=port)
    site.let_go(name)
    check(events + await rest(answer), steps)


async def test_call_is_taken_from_a_socket_that_is_still_open(site: Site, client: Client, pair: Pair) -> None:
    first, name = await counted(site, client, pair[0])
    events = await take(first, STEPS)
    last = first.last_event_id
    second = await client.get(last, port=pair[1])
    assert await rest(first) == []
    third = await client.get(last, port=pair[0])
    assert await rest(second) == []
    site.let_go(name)
    check(events + await rest(third))


@pytest.mark.parametrize("seen", [1, 40, 399])
async def test_call_is_resumed_while_it_writes(client: Client, pair: Pair, seen: int) -> None:
    """Events that are written while another node takes the stream over are neither lost nor sent twice."""
    steps = 400
    first = await client.call("flood", {"steps": steps, "size": 20}, port=pair[0])
    events = await take(first, seen)
    first.cut()
    events += await rest(await client.get(events[-1].id, port=pair[1]))
    assert numbers(events) == [*range(1, steps + 2)]
    assert result_of(events[-1].message) == "flooded"


async def test_slow_call_is_cut_again_and_again(site: Site, client: Client, pair: Pair) -> None:
    steps = 240
    name = site.new_name()
    site.let_go(name)
    answer = await client.call("count", {"name": name, "steps": steps, "pause": 0.001}, port=pair[0])
    events: list[Event] = []
    for port in itertools.islice(itertools.cycle(reversed(pair)), steps // 4):
        events += await take(answer, 3)
        answer.cut()
        answer = await client.get(events[-1].id, port=port)
    check(events + await rest(answer), steps)


async def test_two_calls_of_a_session_do_not_mix(site: Site, client: Client, pair: Pair) -> None:
    calls = [await counted(site, client, port) for port in pair]
    seen = [await take(answer, 2) for answer, _ in calls]
    for answer, _ in calls:
        answer.cut()
    resumed = [
        await client.get(answer.last_event_id, port=port)
        for (answer, _), port in zip(calls, reversed(pair), strict=True)
    ]
    for (_, name), events, answer in zip(calls, seen, resumed, strict=True):
        site.let_go(name)
        check(events + await rest(answer))


async def test_call_that_says_nothing_is_resumed(site: Site, client: Client, pair: Pair) -> None:
    name = site.new_name()
    first = await client.call("silent", {"name": name}, port=pair[0])  # its head comes after SSE_AFTER_SECONDS
    await first.next_event()
    first.cut()
    second = await client.get(first.last_event_id, port=pair[1])
    site.let_go(name)
    (event,) = await rest(second)
    assert "done on" in result_of(event.message)


# -- the GET stream ---------------------------------------------------------------------------------------


async def whisper(client: Client, texts: list[str], ports: Pair) -> None:
    """Have both nodes in turn put messages on the session's GET stream."""
    for text, port in zip(texts, itertools.cycle(ports), strict=False):
        await (await client.call("whisper", {"text": text}, port=port)).text()


@pytest.mark.parametrize("seen", range(STEPS + 1))
async def test_get_stream_is_resumed_after_each_event(client: Client, pair: Pair, seen: int) -> None:
    holder, other = pair
    first = await client.get(port=holder)
    await first.next_event()
    await whisper(client, ["a", "b", "c"], pair)
    events = await take(first, seen)
    first.cut()
    await whisper(client, ["d", "e"], pair)
    second = await client.get(first.last_event_id, port=other)
    await whisper(client, ["f"], pair)
    events += await take(second, 6 - seen)
    assert texts(events) == [*"abcdef"]
    assert numbers(events) == [*range(1, 7)]


async def test_get_stream_is_followed_from_node_to_node(client: Client, pair: Pair) -> None:
    said = [str(number) for number in range(16)]
    stream = await client.get(port=pair[0])
    events: list[Event] = []
    for text, port in zip(said, itertools.cycle(reversed(pair)), strict=False):
        await whisper(client, [text], pair)
        events += await take(stream, 1)
        stream.cut()
        stream = await client.get(events[-1].id, port=port)
    assert texts(events) == said
    assert numbers(events) == [*range(1, len(said) + 1)]


async def test_get_stream_opened_anew_begins_where_the_last_one_ended(site: Site, client: Client, pair: Pair) -> None:
    first = await client.get(port=pair[0])
    await whisper(client, ["a", "b"], pair)
    assert texts(await take(first, 2)) == ["a", "b"]
    await first.close()
    await until(lambda: site.stream(client)["delivered"] == 2)
    await whisper(client, ["c"], pair)
    second = await client.get(port=pair[1])
    await whisper(client, ["d"], pair)
    assert texts(await take(second, 2)) == ["c", "d"]


async def test_messages_before_the_first_get_stream_are_kept_for_it(client: Client, pair: Pair) -> None:
    await whisper(client, ["a", "b"], pair)
    assert texts(await take(await client.get(port=pair[1]), 2)) == ["a", "b"]


async def test_streams_of_one_session_say_nothing_to_another(site: Site, client: Client, pair: Pair) -> None:
    async with site.client() as stranger:
        await stranger.initialize()
        streams = {client: await client.get(port=pair[0]), stranger: await stranger.get(port=pair[0])}
        for one in streams:
            await whisper(one, [one.session_id], (pair[1], pair[1]))
        for one, stream in streams.items():
            assert texts(await take(stream, 1)) == [one.session_id]
