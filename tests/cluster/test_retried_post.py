"""A POST that is sent again, to another node, runs its tool once; both connections lead to the answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cluster.nodes import Site, numbers, rest, result_of, take
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer

Pair = tuple[int, int]

anywhere = pytest.mark.parametrize("pair", [(0, 1), (1, 0), (0, 0), (1, 1)], indirect=True, ids=str)


async def answered(client: Client, answer: SocketAnswer, port: int) -> str | None:
    """Return a tool's result: from this answer or, where its stream ended before, from the stream resumed.

    None where another response has the stream (ADR 32), which then gets the result.
    """
    if not answer.is_stream:
        return await answer.text()
    events = await rest(answer)
    if not events or "result" not in events[-1].message:
        resumed = await client.get(answer.last_event_id, port=port)
        if resumed.status == 204:
            return None
        events = await rest(resumed)
    return result_of(events[-1].message)


@anywhere
async def test_retry_of_a_streaming_call_gets_all_of_it(site: Site, client: Client, pair: Pair) -> None:
    name = site.new_name()
    first = await client.call("count", {"name": name}, id=name, port=pair[0])
    seen = await take(first, 2)
    second = await client.call("count", {"name": name}, id=name, port=pair[1])
    events = await take(second, 3)
    site.let_go(name)
    events += await rest(second)
    assert numbers(events) == [1, 2, 3, 4]
    assert "counted" in result_of(events[-1].message)
    assert {event.id: event for event in seen}.items() <= {event.id: event for event in events}.items()
    assert await answered(client, first, pair[0]) == result_of(events[-1].message), "the call is over"
    assert len(site.pids(name)) == 1


@anywhere
@pytest.mark.parametrize("tool", ["silent", "blocking"])
async def test_retry_of_a_call_that_has_said_nothing_yet(site: Site, client: Client, pair: Pair, tool: str) -> None:
    name = site.new_name()
    calls = [asyncio.create_task(client.call(tool, {"name": name}, id=name, port=pair[0]))]
    await site.until_runs(name)
    calls.append(asyncio.create_task(client.call(tool, {"name": name}, id=name, port=pair[1])))
    second = await calls[1]
    assert second.is_stream
    site.let_go(name)
    first = await calls[0]
    results = {await answered(client, first, pair[0]), await answered(client, second, pair[1])} - {None}
    assert results == {f"done on {site.pids(name)[0]}"}
    assert len(site.pids(name)) == 1


async def test_retry_after_the_first_connection_broke_before_any_answer(
    site: Site, client: Client, pair: Pair
) -> None:
    name = site.new_name()
    first = asyncio.create_task(client.call("silent", {"name": name}, id=name, port=pair[0]))
    await site.until_runs(name)
    first.cancel()  # closes the socket
    await asyncio.wait([first])
    second = await client.call("silent", {"name": name}, id=name, port=pair[1])
    site.let_go(name)
    assert "done on" in await second.text()
    assert len(site.pids(name)) == 1


async def test_posts_at_once_run_one_tool(site: Site, client: Client, pair: Pair) -> None:
    """Some come when the first has just been put on the books, and does not run yet."""
    for steps in (3, 5, 5, 5):
        name = site.new_name()
        posts = [
            asyncio.create_task(
                client.call("count", {"name": name, "steps": steps, "pause": 0.02}, id=name, port=port)
            )
            for port in [*pair] * 3
        ]
        answers = await asyncio.gather(*posts)  # a later one would find no call, and be a new one
        site.let_go(name)
        results = {await answered(client, answer, pair[0]) for answer in answers} - {None}
        assert results == {f"counted to {steps} on {site.pids(name)[0]}"}
        assert len(site.pids(name)) == 1
