"""Redis goes away under running calls, and comes back with what it held, or with nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest

from mcp_transport.domain.session import session_key
from tests.support.cluster.stage import Stage, events_of, numbers, some_events, until
from tests.support.http.answer import Event
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer
from tests.support.node import Node
from tests.support.redis.server import RedisServer

QUICKLY = 7.0
REFUSED_SECONDS = 7.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    # What is written is on the disk before it is acknowledged; a test that wants it empty takes the files away.
    redis = RedisServer("appendfsync always", aof=True)
    with Stage(redis=redis, LEASE_SECONDS=6.0, SSE_AFTER_SECONDS=0.2, KEEPALIVE_SECONDS=1.0) as stage:
        yield stage


async def served(client: Client, port: int) -> None:
    """Wait until sessions are served again; nothing but 503 says until then that they are not."""
    deadline = time.monotonic() + QUICKLY
    while (answer := await client.call("add", {"a": 1, "b": 2}, port=port)).status == 503:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert answer.status == 200
    assert await answer.text() == "3"


async def refused(answer: SocketAnswer) -> None:
    assert answer.status == 503, await answer.read()
    assert int(answer.headers["retry-after"]) > 0
    await answer.read()


async def test_while_it_is_away_sessions_wait_and_everything_else_goes_on(stage: Stage, caller: Client) -> None:
    stage.redis.kill()
    for node in stage.nodes:
        began = time.monotonic()
        await refused(await caller.call("add", {"a": 1, "b": 2}, port=node.port, within=REFUSED_SECONDS))
        await refused(await caller.get(port=node.port))
        await refused(await caller.delete(port=node.port))
        assert time.monotonic() - began < REFUSED_SECONDS
        assert await (await caller.call_alone("add", {"a": 1, "b": 2}, port=node.port)).text() == "3"
        assert not stage.is_ready(node)
    stage.redis.start()
    for node in stage.nodes:
        await served(caller, node.port)
        await until(partial(stage.is_ready, node), "readiness is green")


@pytest.mark.parametrize("empty", [False, True], ids=["with all it held", "empty"])
async def test_calls_go_on_and_nothing_is_missing_afterwards(stage: Stage, empty: bool, caller: Client) -> None:
    name, node, other = f"away-{empty}", *stage.nodes
    answer = await caller.call("count", {"name": name, "steps": 60, "pause": 0.01})
    [first] = await some_events(answer, 1)
    stage.redis.kill()
    during = await some_events(answer, 59)
    assert numbers([first, *during]) == list(range(1, 61))
    if empty:
        shutil.rmtree(stage.redis.folder / "appendonlydir")
    stage.redis.start()
    # The stream is resumed on the other node, by its caller's oldest event, as soon as that can be.
    resumed = await resumed_at(caller, first.id or "", other.port)
    assert numbers(await some_events(resumed, 59)) == list(range(2, 61))
    stage.open(name)
    [result] = await events_of(resumed)
    assert numbers([result]) == [61]
    assert result.message["result"]["content"][0]["text"] == f"counted to 60 on {node.pid}"
    again = await caller.get(first.id, node.port)
    assert numbers(await events_of(again)) == list(range(2, 62))


async def resumed_at(client: Client, event_id: str, port: int) -> SocketAnswer:
    """Resume a stream; as a client does, try again while the answer is 503, or 400 before the log is back."""
    deadline = time.monotonic() + QUICKLY
    while (answer := await client.get(event_id, port)).status in (400, 503):
        assert time.monotonic() < deadline, await answer.read()
        await answer.read()
        await asyncio.sleep(0.1)
    assert answer.status == 200
    return answer


@pytest.mark.parametrize("empty", [False, True], ids=["with all it held", "empty"])
async def test_a_call_that_ends_meanwhile_is_answered_and_logged_later(
    stage: Stage, empty: bool, caller: Client
) -> None:
    name, node, other = f"ends-{empty}", *stage.nodes
    answer = await caller.call("count", {"name": name})
    [first, *_] = await some_events(answer, 3)
    stage.redis.kill()
    stage.open(name)
    assert numbers(await events_of(answer)) == [4]
    if empty:
        shutil.rmtree(stage.redis.folder / "appendonlydir")
    stage.redis.start()
    resumed = await resumed_at(caller, first.id or "", other.port)
    assert numbers(await events_of(resumed)) == [2, 3, 4]
    await until(lambda: not stage.flights(caller), "the books are empty")
    assert await (await caller.call("where", port=node.port)).text() == str(node.pid)


async def test_an_answer_as_json_does_not_wait_for_it(stage: Stage, caller: Client) -> None:
    caller.headers = {"Accept": "application/json"}
    answer = asyncio.ensure_future(caller.call("silent", {"name": "json"}))
    await stage.await_pids("json")
    stage.redis.kill()
    stage.open("json")
    assert await (await answer).text() == f"done on {stage.nodes[0].pid}"
    stage.redis.start()
    await until(lambda: not stage.flights(caller), "the books are empty")


@asynccontextmanager
async def forgotten(stage: Stage, client: Client, delivered: int) -> AsyncIterator[None]:
    """Have Redis lose what the block does to a session's GET stream, which ends after so many events, and die."""
    streams, log = (f"mcp:{{{session_key(client.session_id)}}}:{part}" for part in ("t", "l:g"))

    async def told() -> None:
        words = f'"delivered":{delivered}'
        await until(lambda: words in (stage.redis.ask("HGET", streams, "g") or ""), "the store is told")

    with stage.redis.connect(decode_responses=False) as store:
        before = {key: store.dump(key) for key in (streams, log)}
        yield
        await told()
        for key, value in before.items():
            store.restore(key, 60_000, value, replace=True)
    stage.redis.kill()
    stage.redis.start()
    await told()
    await served(client, stage.nodes[1].port)


async def hearing(client: Client, node: Node, other: Node) -> tuple[SocketAnswer, Event]:
    """Open a session whose GET stream is at one node, and have a message come there from the other."""
    await client.initialize()
    stream = await client.get(port=node.port)
    await client.call("whisper", {"text": "kept"}, port=other.port)
    [first] = await some_events(stream, 1)
    return stream, first


def texts(events: Sequence[Event]) -> list[str]:
    return [event.message["params"].get("data", event.message["method"]) for event in events]


async def test_without_its_last_second_nothing_is_swallowed_or_repeated(stage: Stage) -> None:
    """The store loses what a GET stream has delivered, but not the announcement of which a part of it came."""
    node, other = stage.nodes
    async with Client(*stage.ports) as client:
        stream, _ = await hearing(client, node, other)
        async with forgotten(stage, client, 3):
            await client.call("announce", port=other.port)
            await client.call("whisper", {"text": "lost"}, port=other.port)
            *_, last = await some_events(stream, 2)
        await client.call("whisper", {"text": "new"}, port=other.port)
        assert texts(await some_events(stream, 1)) == ["new"]
        stream.cut()
        resumed = await client.get(last.id, port=other.port)
        await client.call("whisper", {"text": "newer"}, port=node.port)
        assert texts(await some_events(resumed, 2)) == ["new", "newer"]


async def test_without_its_last_second_what_was_made_up_for_is_not_told_again(stage: Stage) -> None:
    node, other = stage.nodes
    async with Client(*stage.ports) as client:
        stream, first = await hearing(client, node, other)
        stream.cut()
        for _ in range(2):
            await client.call("announce", port=other.port)
        async with forgotten(stage, client, 3):
            stream = await client.get(first.id, port=node.port)
            *_, last = await some_events(stream, 2)
        stream.cut()
        resumed = await client.get(last.id, port=other.port)
        await client.call("whisper", {"text": "new"}, port=node.port)
        assert texts(await some_events(resumed, 1)) == ["new"]


async def test_emptied_in_mid_call_it_gets_everything_again(stage: Stage, caller: Client) -> None:
    other = stage.nodes[1]
    answer = await caller.call("count", {"name": "flushed", "steps": 300, "pause": 0.01})
    quiet = await caller.call("silent", {"name": "flushed"}, port=other.port)
    stream = await caller.get()
    [first, *_] = await some_events(answer, 10)
    stage.redis.ask("FLUSHALL")
    assert numbers(await some_events(answer, 290)) == list(range(11, 301))
    await served(caller, other.port)
    await stage.await_happening("rehydrated", *stage.nodes)
    stage.open("flushed")
    assert numbers(await events_of(answer)) == [301]
    assert (await quiet.text()).startswith("done on")
    assert not stage.pids("flushed", "cancelled")
    resumed = await caller.get(first.id, other.port)
    assert numbers(await events_of(resumed)) == list(range(2, 302))
    await until(lambda: not stage.flights(caller), "the books are empty")
    # The GET stream was open all the time; what its session hears now, it hears there.
    await caller.call("whisper", {"text": "hello"}, port=other.port)
    assert (await some_events(stream, 1))[0].message["params"]["data"] == "hello"


async def test_emptied_in_mid_call_it_still_finds_the_call(stage: Stage, caller: Client) -> None:
    node, other = stage.nodes
    answer = await caller.call("count", {"name": "found", "steps": 10_000, "pause": 0.01}, id=7)
    await some_events(answer, 1)
    stage.redis.ask("FLUSHALL")
    await some_events(answer, 10)
    await until(lambda: stage.flights(caller), "the books have it again")
    await caller.notify("notifications/cancelled", {"requestId": 7}, port=other.port)
    assert await stage.await_pids("found", "cancelled") == [node.pid]
    assert not [event for event in await events_of(answer) if "method" not in event.message]


async def test_standing_still_it_delays_the_log_and_not_the_events(stage: Stage, caller: Client) -> None:
    other = stage.nodes[1]
    answer = await caller.call("count", {"name": "paused", "steps": 200, "pause": 0.02})
    [first] = await some_events(answer, 1)
    stage.redis.ask("CLIENT", "PAUSE", 4000, "ALL")
    began = time.monotonic()
    stage.open("paused")
    post = asyncio.ensure_future(caller.call("add", {"a": 1, "b": 2}, port=other.port))
    assert numbers(await some_events(answer, 50)) == list(range(2, 52))
    assert time.monotonic() - began < 3.5, "they came before Redis went on"
    late = await post
    assert late.status in (200, 503)
    assert time.monotonic() - began < REFUSED_SECONDS
    resumed = await caller.get(first.id, other.port)
    assert numbers(await events_of(resumed)) == list(range(2, 202))


async def test_an_absence_longer_than_memory_is_told(stage: Stage, caller: Client) -> None:
    answer = await caller.call("count", {"name": "long", "steps": 3000, "pause": 0.001})
    [first] = await some_events(answer, 1)
    stage.redis.kill()
    during = await some_events(answer, 2999)
    assert numbers(during) == list(range(2, 3001))
    stage.redis.start()
    resumed = await resumed_at(caller, first.id or "", stage.nodes[1].port)
    stored: list[Event] = []  # before Redis was killed
    while numbers([loss := (await some_events(resumed, 1))[0]]) < [2000]:
        stored.append(loss)
    assert numbers(stored) == list(range(2, 2 + len(stored)))
    assert numbers([loss]) == [2000], "behind what is lost"
    assert f"{1999 - len(stored)} message" in loss.message["params"]["data"]
    assert numbers(await some_events(resumed, 1000)) == list(range(2001, 3001))
    stage.open("long")
    assert numbers((await events_of(resumed))[-1:]) == [3001]
