"""A client that answers one question without end, or very many: the node that asked must not drown, nor Redis in its
inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from tests.support.cluster.nodes import Site, rest, result_of, take, until
from tests.support.http.client import Client
from tests.support.redis.server import RedisServer

Pair = tuple[int, int]

MEGABYTE = 1024 * 1024
MOST = 64 * MEGABYTE
"""What an inbox may hold."""
LONG = MEGABYTE - 1000
"""Characters of a reply that is nearly as long as it may be."""


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


async def reply(client: Client, question: str, port: int, name: str) -> int:
    """Answer a question at length; return the answer's status."""
    content = {"name": name, "filling": "x" * LONG}
    answer = await client.reply(question, {"action": "accept", "content": content}, port=port)
    assert ("retry-after" in answer.headers) is (answer.status == 503)
    return answer.status


async def flood(client: Client, questions: Sequence[str], port: int, senders: int = 4) -> list[int]:
    """Answer questions one after the other, on several connections at once; return the answers' status."""

    async def send(number: int) -> list[int]:
        return [await reply(client, question, port, str(number)) for question in questions[number::senders]]

    found = await asyncio.gather(*map(send, range(senders)))
    return [status for statuses in found for status in statuses]


def inbox(redis: RedisServer, question: str) -> int:
    """Return how many bytes of Redis's memory the inbox of the node that asked takes."""
    return redis.ask("MEMORY USAGE", f"mcp:{{in:{question.partition('.')[0]}}}:q") or 0


async def test_node_flooded_with_replies_goes_on(site: Site, client: Client, pair: Pair) -> None:
    """Each reply is valid; the tool takes the first, which alone is sent on, and other calls are served meanwhile."""
    redis = site.redis
    question, said = await asked(client, pair[0])
    most = served = 0

    async def watch() -> None:
        nonlocal most, served
        while True:
            most = max(most, inbox(redis, question))
            assert await (await client.call("add", {"a": 1, "b": 1}, port=pair[0])).text() == "2"
            served += 1

    watching = asyncio.create_task(watch())
    statuses = await flood(client, [question] * 48, pair[1])
    watching.cancel()
    await asyncio.wait([watching])
    assert watching.cancelled(), watching.exception()
    assert served
    assert {*statuses} == {202}
    (result,) = await said
    assert result.startswith("accept ")
    assert most < 1.5 * MEGABYTE
    await until(lambda: inbox(redis, question) < 1.1 * MEGABYTE)


@pytest.mark.blocks_loop("it writes and sends replies of 72 MiB")
async def test_inbox_of_a_node_that_stands_still_is_bounded(site: Site, client: Client, pair: Pair) -> None:
    """What does not fit is refused, and can be sent again; nothing else of the session suffers."""
    redis = site.redis
    open_questions = dict([await asked(client, pair[0]) for _ in range(72)])
    node = next(node for node in site.nodes if node.port == pair[0])
    node.pause()
    try:
        statuses = await flood(client, [*open_questions], pair[1])
        size = inbox(redis, next(iter(open_questions)))
        assert await (await client.call("add", {"a": 1, "b": 1}, port=pair[1])).text() == "2"
    finally:
        node.resume()
    assert {*statuses} == {202, 503}
    assert statuses.count(202) * LONG < MOST
    assert size < 1.5 * MOST
    await until(lambda: inbox(redis, next(iter(open_questions))) < 1.5 * MEGABYTE)
    for question in open_questions:
        assert (await client.reply(question, {"action": "decline"}, port=pair[1])).status == 202
    results = [result for said in open_questions.values() for result in await said]
    assert len(results) == len(statuses)
    assert results.count("decline None") == statuses.count(503), "what was refused was lost"
    assert await (await client.call("where", port=pair[0])).text() == str(node.pid)
