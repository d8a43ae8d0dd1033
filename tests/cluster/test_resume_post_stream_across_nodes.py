"""The stream of a POST that was cut on one node goes on at another: nothing is lost, nothing comes twice."""

from __future__ import annotations

import itertools

import pytest

from tests.cluster.conftest import each_way
from tests.support.cluster.nodes import Site, numbers, rest, result_of, take, until
from tests.support.http.answer import Event
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer

Pair = tuple[int, int]

STEPS = 3

# One node twice: it finds its own streams in the log, too.
everywhere = pytest.mark.parametrize("pair", [(0, 1), (1, 0), (0, 0), (1, 1)], indirect=True, ids=str)


def check(events: list[Event], steps: int = STEPS) -> None:
    """Look whether these are all events of a `count`, once each and in order."""
    assert numbers(events) == [*range(1, steps + 2)]
    assert [event.message["params"]["progress"] for event in events[:-1]] == [*range(1, steps + 1)]
    assert f"counted to {steps}" in result_of(events[-1].message)


async def counted(site: Site, client: Client, port: int, steps: int = STEPS) -> tuple[SocketAnswer, str]:
    """Call `count` and read the event that tells where to resume."""
    name = site.new_name()
    answer = await client.call("count", {"name": name, "steps": steps}, port=port)
    priming = await answer.next_event()
    assert priming is not None
    assert not priming.data
    return answer, name


@everywhere
async def test_running_call_is_resumed_after_each_event(site: Site, client: Client, pair: Pair) -> None:
    for seen in range(STEPS + 1):
        first, name = await counted(site, client, pair[0])
        events = await take(first, seen)
        first.cut()
        second = await client.get(first.last_event_id, port=pair[1])
        events += await take(second, STEPS - seen)
        site.let_go(name)
        check(events + await rest(second))
        assert len(site.pids(name)) == 1


@everywhere
async def test_finished_call_is_resumed_after_each_event(site: Site, client: Client, pair: Pair) -> None:
    for seen in range(STEPS + 1):
        first, name = await counted(site, client, pair[0])
        events = await take(first, seen)
        first.cut()
        site.let_go(name)
        await until(lambda: not site.calls_in_flight(client))
        for port in reversed(pair):  # as often as the client likes
            check(events + await rest(await client.get(first.last_event_id, port=port)))


@everywhere
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


@each_way
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


@each_way
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


@each_way
async def test_call_that_says_nothing_is_resumed(site: Site, client: Client, pair: Pair) -> None:
    name = site.new_name()
    first = await client.call("silent", {"name": name}, port=pair[0])  # its head comes after SSE_AFTER_SECONDS
    await first.next_event()
    first.cut()
    second = await client.get(first.last_event_id, port=pair[1])
    site.let_go(name)
    (event,) = await rest(second)
    assert "done on" in result_of(event.message)
