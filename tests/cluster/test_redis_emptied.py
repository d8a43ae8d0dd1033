"""Redis loses all it holds while nodes run: sessions are rebuilt from their ids, and what runs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mcp_transport.domain.session import session_key
from tests.support.cluster.nodes import Site, numbers, rest, result_of, take, texts, until
from tests.support.http.client import Client

Pair = tuple[int, int]


@pytest.fixture(scope="module")
def site(programs: None) -> Iterator[Site]:
    """Run two nodes on a Redis that these tests may empty; no keep-alive comes within a test."""
    with Site(mcp={"DRAIN_SECONDS": 1}) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    """Open ann's session."""
    async with site.client("ann") as client:
        await client.initialize()
        yield client


def empty_at_once(site: Site) -> None:
    """Empty Redis."""
    site.redis.ask("FLUSHALL")


async def empty(site: Site) -> None:
    """Empty Redis, and wait until both nodes have shown up again: now they can send each other messages."""
    empty_at_once(site)
    await until(lambda: site.redis.ask("ZCARD", "mcp:nodes") == len(site.nodes))


async def test_session_goes_on_at_every_node(site: Site, client: Client, pair: Pair) -> None:
    before = site.count("rehydrated")
    for port in pair:
        empty_at_once(site)
        assert await (await client.call("add", {"a": 1, "b": 1}, port=port)).text() == "2"
    session = f"session={session_key(client.session_id)[:10].lower()}"
    told = [line for line in site.logs().splitlines() if line.startswith("rehydrated: ") and session in line]
    assert len(told) == 2
    assert site.count("rehydrated") - before >= 2  # calls of other sessions may run


async def test_requests_that_come_together_are_all_served(site: Site, client: Client, pair: Pair) -> None:
    empty_at_once(site)
    calls = [client.call("add", {"a": 1, "b": 1}, port=port) for port in [*pair] * 6]
    streams = [client.get(port=port) for port in pair]
    answers = await asyncio.gather(*calls, *streams)
    assert [answer.status for answer in answers] == [200] * len(answers)


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_rebuilt_session_knows_its_client(site: Site, version: str) -> None:
    """What was negotiated still holds: the version, and what the client can be asked."""
    pair = site.ports
    async with site.client("ann") as able, site.client("ann") as unable:
        await able.initialize(port=pair[0], version=version)
        await unable.initialize(port=pair[0], version=version, capabilities={})
        await empty(site)
        tool, reply = ("roots", {"roots": [{"uri": "file:///home"}]})
        asking = await able.call(tool, port=pair[1])
        first = await asking.next_event()
        assert first is not None
        assert (first.retry is not None) == (version == "2025-11-25")
        (question,) = [first] if first.data else await take(asking, 1)
        assert (await able.reply(question.message["id"], reply, port=pair[0])).status == 202
        assert await asking.text() == "file:///home"
        outcome = await (await unable.call(tool, port=pair[1])).outcome()
        assert "error" in outcome or outcome["result"]["isError"]


@pytest.mark.parametrize("entry", ["get", "cancel", "reply", "delete"])
async def test_session_is_rebuilt_at_every_entry(site: Site, client: Client, pair: Pair, entry: str) -> None:
    asking = await client.call("ask", port=pair[0])
    (question,) = await take(asking, 1)
    await empty(site)
    if entry == "get":
        stream = await client.get(port=pair[1])
        await (await client.call("whisper", {"text": "hello"}, port=pair[0])).text()
        assert texts(await take(stream, 1)) == ["hello"]
    elif entry == "cancel":
        assert (await client.notify("notifications/cancelled", {"requestId": "later"}, port=pair[1])).status == 202
    elif entry == "reply":
        reply = {"action": "accept", "content": {"name": "ann"}}
        assert (await client.reply(question.message["id"], reply, port=pair[1])).status == 202
        assert await asking.text() == "accept ann"
    else:
        assert (await client.delete(port=pair[1])).status == 204
        assert (await client.call("add", {"a": 1, "b": 1}, port=pair[0])).status == 404


@pytest.mark.parametrize("delivered", [0, 3])
async def test_held_get_stream_delivers_again(site: Site, client: Client, pair: Pair, delivered: int) -> None:
    """Both messages to the session and changes on the server."""
    stream = await client.get(port=pair[0])
    await stream.next_event()
    for number in range(delivered):
        await (await client.call("whisper", {"text": str(number)}, port=pair[1])).text()
    assert len(await take(stream, delivered)) == delivered
    await empty(site)
    await (await client.call("whisper", {"text": "a"}, port=pair[1])).text()
    await (await client.call("announce", port=pair[1])).text()
    events = await take(stream, 2)
    assert events[0].message["params"]["data"] == "a"
    assert events[1].message["method"] == "notifications/tools/list_changed"
    assert numbers(events)[0] > delivered


@pytest.mark.parametrize("delivered", [0, 3])
async def test_get_stream_can_be_resumed_elsewhere(site: Site, client: Client, pair: Pair, delivered: int) -> None:
    stream = await client.get(port=pair[0])
    await stream.next_event()
    for number in range(delivered):
        await (await client.call("whisper", {"text": str(number)}, port=pair[1])).text()
    await take(stream, delivered)
    await empty(site)
    stream.cut()
    resumed = await client.get(stream.last_event_id, port=pair[1])
    assert resumed.status == 200, await resumed.read()
    await (await client.call("whisper", {"text": "a"}, port=pair[0])).text()
    assert texts(await take(resumed, 1)) == ["a"]


async def test_running_call_is_resumed_elsewhere_before_it_ends(site: Site, client: Client, pair: Pair) -> None:
    name = site.new_name()
    answer = await client.call("count", {"name": name, "steps": 80, "pause": 0.02}, port=pair[0])
    seen = await take(answer, 2)
    await empty(site)
    # The next event writes the log again; from then on the stream is known.
    await until(lambda: site.stream(client, (seen[0].id or "").partition("-")[0]))
    answer.cut()
    resumed = await client.get(answer.last_event_id, port=pair[1])
    site.let_go(name)
    events = seen + await rest(resumed)
    assert numbers(events) == [*range(1, 82)]
    assert "counted" in result_of(events[-1].message)
    assert len(site.pids(name)) == 1
