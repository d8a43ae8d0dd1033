"""The master dies, its replica takes its place, with or without the last writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

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


@asynccontextmanager
async def left_behind() -> AsyncIterator[tuple[Stage, RedisServer, Switch, Client, SocketAnswer, list[Event]]]:
    """Have a call write ninety events more to the master than to the replica."""
    with (
        RedisServer(name="master") as master,
        RedisServer(name="replica", replica_of=master) as replica,
        Switch(master.port) as switch,
        Stage(redis=master, cache=through(master, switch), LEASE_SECONDS=6.0) as stage,
    ):
        async with Client(*stage.ports) as client:
            await client.initialize()
            answer = await client.call("count", {"name": "lacking", "steps": 100, "pause": 0.01})
            seen = await some_events(answer, 10)
            await until(lambda: replica.ask("KEYS", "mcp:*:t"), "replication")
            replica.ask("REPLICAOF", "NO", "ONE")
            seen += await some_events(answer, 90)
            yield stage, replica, switch, client, answer, seen


async def test_what_the_replica_lacks_comes_from_the_writers_memory() -> None:
    async with left_behind() as (stage, replica, switch, client, _, seen):
        stage.redis.kill()
        switch.turn(replica.port)
        await served_again(client, stage.ports[1])
        stage.open("lacking")
        resumed = await client.get(seen[0].id, stage.ports[1])
        assert numbers(await events_of(resumed)) == list(range(2, 102))
        await stage.await_happening("refilled", stage.nodes[0])


@pytest.mark.parametrize("number", [0, 1], ids=["asked of its node", "asked of another"])
async def test_what_the_replica_lacks_of_a_call_that_ended(number: int) -> None:
    async with left_behind() as (stage, replica, switch, client, answer, seen):
        stage.open("lacking")
        assert numbers(await events_of(answer)) == [101]
        await until(lambda: not stage.flights(client), "its last word is stored")
        stage.redis.kill()
        switch.turn(replica.port)
        await served_again(client, stage.ports[number])
        resumed = await client.get(seen[0].id, stage.ports[number])
        # All of it, if its node remembers, or the news that it is lost: but an end.
        *_, last = await events_of(resumed, within=5.0)
        assert last.message["id"] == 1


def through(server: RedisServer, switch: Switch) -> dict[str, object]:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url_of(USER, switch.port)}
