"""A client that answers a question without end: the node that asked must not drown, nor Redis in its inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.cluster.client import Client
from tests.cluster.fixtures import Site, rest, result_of, take, until

Pair = tuple[int, int]

MEGABYTE = 1024 * 1024
MOST = 64 * MEGABYTE
"""What an inbox may hold."""


@pytest.fixture(scope="module")
def site(programs: None) -> Iterator[Site]:
    """Run two nodes that may stand still for a while without being taken for dead."""
    with Site(mcp={"LEASE_SECONDS": 20, "DRAIN_SECONDS": 1}) as site:
        yield site


async def asked(client: Client, port: int) -> tuple[str, asyncio.Task[list[str]]]:
    """Have a tool ask; return the question's id, and what the tool will say."""
    answer = await client.call("ask", port=port)
    (question,) = await take(answer, 1)

    async def said() -> list[str]:
        return [result_of(event.message) for event in await rest(answer)]

    return question.message["id"], asyncio.create_task(said())


async def flood(client: Client, question: str, port: int, times: int, size: int, senders: int = 4) -> list[int]:
    """Answer a question again and again, from several connections at once; return the answers' status."""

    async def send(name: str) -> list[int]:
        reply = {"action": "accept", "content": {"name": name, "filling": "x" * size}}
        return [(await client.reply(question, reply, port=port)).status for _ in range(times // senders)]

    found = await asyncio.gather(*(send(str(number)) for number in range(senders)))
    return [status for statuses in found for status in statuses]


def inbox(site: Site, question: str) -> int:
    """Return how many bytes of Redis's memory the inbox of the node that asked takes."""
    return site.redis.ask("MEMORY USAGE", f"mcp:{{in:{question.partition('.')[0]}}}:q") or 0


async def test_node_flooded_with_replies_goes_on(site: Site, client: Client, pair: Pair) -> None:
    """Each reply is valid; the tool takes the first, and other calls are served meanwhile."""
    question, said = await asked(client, pair[0])
    most = served = 0

    async def watch() -> None:
        nonlocal most, served
        while True:
            most = max(most, inbox(site, question))
            assert await (await client.call("add", {"a": 1, "b": 1}, port=pair[0])).text() == "2"
            served += 1

    watching = asyncio.create_task(watch())
    statuses = await flood(client, question, pair[1], times=48, size=MEGABYTE)
    watching.cancel()
    await asyncio.wait([watching])
    assert watching.cancelled(), watching.exception()
    assert served
    assert {*statuses} <= {202, 503}
    (result,) = await said
    assert result.startswith("accept ")
    assert most < MOST
    await until(lambda: inbox(site, question) < 1.1 * MEGABYTE)


async def test_inbox_of_a_node_that_stands_still_is_bounded(site: Site, client: Client, pair: Pair) -> None:
    """What does not fit is refused, and can be sent again; nothing else of the session suffers."""
    question, said = await asked(client, pair[0])
    node = next(node for node in site.nodes if node.port == pair[0])
    node.pause()
    try:
        statuses = await flood(client, question, pair[1], times=24, size=39 * MEGABYTE // 10)
        size = inbox(site, question)
        refused = await client.reply(question, {"action": "decline", "filling": "x" * 3 * MEGABYTE}, port=pair[1])
        assert await (await client.call("add", {"a": 1, "b": 1}, port=pair[1])).text() == "2"
    finally:
        node.resume()
    assert {*statuses} == {202, 503}
    assert statuses.count(202) * 3.9 < 65
    assert size < 1.5 * MOST
    assert refused.status == 503
    assert "retry-after" in refused.headers
    (result,) = await said
    assert result.startswith("accept ")
    await until(lambda: inbox(site, question) < 4.5 * MEGABYTE)
    assert await (await client.call("where", port=pair[0])).text() == str(node.pid)
    again, said = await asked(client, pair[0])
    assert (await client.reply(again, {"action": "decline"}, port=pair[1])).status == 202
    assert await said == ["decline None"]
