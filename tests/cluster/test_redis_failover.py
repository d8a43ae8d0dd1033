"""The master dies, its replica takes its place, with or without the last writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from tests.cluster.sentinel import Sentinel
from tests.cluster.switch import Switch
from tests.support.cluster.stage import Stage, events_of, numbers, some_events, until
from tests.support.http.answer import Event
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer
from tests.support.redis.server import RedisServer
from tests.support.redis.users import USER

FAILOVER_SECONDS = 15.0


async def served_again(client: Client, port: int) -> None:
    deadline = time.monotonic() + FAILOVER_SECONDS
    while (answer := await client.call("add", {"a": 1, "b": 2}, port=port)).status == 503:
        assert answer.headers["retry-after"]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await answer.text() == "3"


async def test_sentinel_promotes_the_replica_under_running_calls() -> None:
    with (
        RedisServer(name="master") as master,
        RedisServer(name="replica", replica_of=master) as replica,
        Sentinel(master) as sentinel,
        Stage(redis=master, cache=sentinel.cache, LEASE_SECONDS=6.0) as stage,
    ):
        node, other = stage.nodes
        async with Client(*stage.ports) as client:
            await client.initialize()
            answer = await client.call("count", {"name": "promoted", "steps": 400, "pause": 0.01})
            stream = await client.get()
            [first] = await some_events(answer, 1)
            await until(lambda: replica.ask("EXISTS", "mcp:nodes"), "replication")
            master.kill()
            assert numbers(await some_events(answer, 399)) == list(range(2, 401))
            for port in stage.ports:
                await served_again(client, port)
            assert replica.ask("ROLE")[0] == "master"
            resumed = await client.get(first.id, other.port)
            stage.open("promoted")
            events = await events_of(resumed)
            assert numbers(events) == list(range(2, 402))
            assert events[-1].message["result"]["content"][0]["text"] == f"counted to 400 on {node.pid}"
            await client.call("whisper", {"text": "hello"}, port=other.port)
            assert (await some_events(stream, 1))[0].message["params"]["data"] == "hello"


@dataclass
class Caller:
    """A client, its call, and the events of it that have come."""

    client: Client
    answer: SocketAnswer
    seen: list[Event]


async def begun(client: Client) -> Caller:
    answer = await client.call("count", {"name": "lacking", "steps": 100, "pause": 0.01})
    return Caller(client, answer, await some_events(answer, 10))


@asynccontextmanager
async def left_behind(count: int) -> AsyncIterator[tuple[Stage, RedisServer, Switch, list[Caller]]]:
    """Have calls write ninety events more to the master than to the replica, each."""
    with (
        RedisServer(name="master") as master,
        RedisServer(name="replica", replica_of=master) as replica,
        Switch(master.port) as switch,
        Stage(redis=master, cache=through(master, switch), LEASE_SECONDS=6.0) as stage,
    ):
        async with AsyncExitStack() as clients:
            opened = [await clients.enter_async_context(Client(*stage.ports)) for _ in range(count)]
            for client in opened:
                await client.initialize()
            callers = [await begun(client) for client in opened]
            await until(lambda: len(replica.ask("KEYS", "mcp:*:t")) == count, "replication")
            replica.ask("REPLICAOF", "NO", "ONE")
            for caller in callers:
                caller.seen += await some_events(caller.answer, 90)
            yield stage, replica, switch, callers


async def test_what_the_replica_lacks_comes_from_the_writers_memory() -> None:
    async with left_behind(1) as (stage, replica, switch, [caller]):
        stage.redis.kill()
        switch.turn(replica.port)
        await served_again(caller.client, stage.ports[1])
        stage.open("lacking")
        resumed = await caller.client.get(caller.seen[0].id, stage.ports[1])
        assert numbers(await events_of(resumed)) == list(range(2, 102))
        await stage.await_happening("refilled", stage.nodes[0])


async def test_what_the_replica_lacks_of_a_call_that_ended() -> None:
    async with left_behind(2) as (stage, replica, switch, callers):
        stage.open("lacking")
        for caller in callers:
            assert numbers(await events_of(caller.answer)) == [101]
            await until(partial(has_ended, stage, caller.client), "its last word is stored")
        stage.redis.kill()
        switch.turn(replica.port)
        for caller, port in zip(callers, stage.ports, strict=True):  # asked of its node, and of another
            await served_again(caller.client, port)
            resumed = await caller.client.get(caller.seen[0].id, port)
            # All of it, if its node remembers, or the news that it is lost: but an end.
            *_, last = await events_of(resumed, within=5.0)
            assert last.message["id"] == 1


def has_ended(stage: Stage, client: Client) -> bool:
    return not stage.flights(client)


def through(server: RedisServer, switch: Switch) -> dict[str, object]:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url_of(USER, switch.port)}
