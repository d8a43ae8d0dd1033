"""A POST that is sent again, to another node, runs its tool once; both connections lead to the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.cluster.answer import Answer
from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site, numbers, rest, result_of, take

Pair = tuple[int, int]


async def answered(client: Client, answer: Answer, port: int) -> str | None:
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


@pytest.mark.parametrize("elsewhere", [True, False], ids=["on-the-other", "on-the-same"])
async def test_retry_of_a_streaming_call_gets_all_of_it(
    site: Site, client: Client, pair: Pair, elsewhere: bool
) -> None:
    ports = pair if elsewhere else (pair[0], pair[0])
    name = site.new_name()
    first = await client.call("count", {"name": name}, id=name, port=ports[0])
    seen = await take(first, 2)
    second = await client.call("count", {"name": name}, id=name, port=ports[1])
    events = await take(second, 3)
    site.let_go(name)
    events += await rest(second)
    assert numbers(events) == [1, 2, 3, 4]
    assert "counted" in result_of(events[-1].message)
    assert {event.id: event for event in seen}.items() <= {event.id: event for event in events}.items()
    assert await answered(client, first, ports[0]) == result_of(events[-1].message), "the call is over"
    assert len(site.pids(name)) == 1


@pytest.mark.parametrize("tool", ["silent", "blocking"])
@pytest.mark.parametrize("elsewhere", [True, False], ids=["on-the-other", "on-the-same"])
async def test_retry_of_a_call_that_has_said_nothing_yet(
    site: Site, client: Client, pair: Pair, tool: str, elsewhere: bool
) -> None:
    ports = pair if elsewhere else (pair[0], pair[0])
    name = site.new_name()
    calls = [asyncio.create_task(client.call(tool, {"name": name}, id=name, port=ports[0]))]
    await site.until_runs(name)
    calls.append(asyncio.create_task(client.call(tool, {"name": name}, id=name, port=ports[1])))
    second = await calls[1]
    assert second.is_stream
    site.let_go(name)
    first = await calls[0]
    results = {await answered(client, first, ports[0]), await answered(client, second, ports[1])} - {None}
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


async def test_three_posts_at_once_run_one_tool(site: Site, client: Client, pair: Pair) -> None:
    name = site.new_name()
    ports = [*pair, pair[0]]
    posts = [asyncio.create_task(client.call("count", {"name": name}, id=name, port=port)) for port in ports]
    await site.until_runs(name)
    answers = await asyncio.gather(*posts)
    site.let_go(name)
    results = {await answered(client, answer, port) for answer, port in zip(answers, ports, strict=True)} - {None}
    assert results == {f"counted to 3 on {site.pids(name)[0]}"}
    assert len(site.pids(name)) == 1


async def test_many_posts_at_once_run_one_tool(site: Site, client: Client, pair: Pair) -> None:
    """Some come when the first has just been put on the books, and does not run yet."""
    for _ in range(10):
        name = site.new_name()
        site.let_go(name)
        arguments = {"name": name, "steps": 5, "pause": 0.02}
        posts = [client.call("count", arguments, id=name, port=port) for port in [*pair] * 3]
        answers = await asyncio.gather(*posts)
        results = {await answered(client, answer, pair[0]) for answer in answers} - {None}
        assert results == {f"counted to 5 on {site.pids(name)[0]}"}
        assert len(site.pids(name)) == 1


@pytest.mark.parametrize(
    "other", [{"tool": "count", "steps": 4}, {"tool": "silent"}], ids=["other-arguments", "other-tool"]
)
async def test_second_request_under_an_id_in_use_is_refused(
    site: Site, client: Client, pair: Pair, other: dict[str, Any]
) -> None:
    name = site.new_name()
    first = await client.call("count", {"name": name}, id=name, port=pair[0])
    await take(first, 3)
    arguments = {"name": f"{name}x", **{key: value for key, value in other.items() if key != "tool"}}
    for port in pair:
        refused = await client.call(other["tool"], arguments, id=name, port=port)
        assert (refused.status, (await refused.json())["error"]["code"]) == (400, -32600)
    site.let_go(name)
    assert "counted" in await first.text()
    assert not site.pids(f"{name}x")


async def test_the_number_and_the_string_are_two_ids(site: Site, client: Client, pair: Pair) -> None:
    names = {1: site.new_name(), "1": site.new_name()}
    answers = {
        id: await client.call("count", {"name": name, "steps": 1}, id=id, port=port)
        for (id, name), port in zip(names.items(), pair, strict=True)
    }
    for id, answer in answers.items():
        await take(answer, 1)
        site.let_go(names[id])
        outcome = await answer.outcome()
        assert (outcome["id"], type(outcome["id"])) == (id, type(id))


async def test_sessions_do_not_share_their_ids(site: Site, client: Client, pair: Pair) -> None:
    name = site.new_name()
    async with site.client() as other:
        await other.initialize()
        answers = [
            await one.call("count", {"name": name, "steps": 1}, id=7, port=port)
            for one, port in zip((client, other), pair, strict=True)
        ]
        await site.until_runs(name, 2)
        site.let_go(name)
        for answer in answers:
            assert "counted" in await answer.text()
    assert len(site.pids(name)) == 2
