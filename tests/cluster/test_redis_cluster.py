"""A Redis Cluster of three: every script's keys lie in one slot, and nodes die as they do with one Redis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster.stage import SOON, Stage, assert_lost, events_of, numbers, some_events, until
from tests.support.http.client import Client
from tests.support.processes import start_all, stop_all
from tests.support.redis.server import RedisServer, form_cluster

WRONG = re.compile(r"CROSSSLOT|MOVED|ClusterException|Traceback|answered with 503|same slot")


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    servers = [RedisServer(cluster=True, name=f"redis-{number}") for number in range(3)]
    start_all(servers)
    try:
        form_cluster(servers)
        yield servers
    finally:
        stop_all(servers)


@pytest.fixture(scope="module", params=["by setting", "by class"])
def shared(servers: list[RedisServer], request: pytest.FixtureRequest) -> Iterator[Stage]:
    urls = [server.url for server in servers]
    cache: dict[str, Any] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": urls}
    settings: dict[str, Any] = {"SSE_AFTER_SECONDS": 0.2, "RATE_LIMITS": {"session": "100/h", "caller": "100000/h"}}
    if request.param == "by setting":
        settings |= {"REDIS_CLUSTER": True}
    else:
        cache |= {"OPTIONS": {"REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster"}}
    with Stage(redis=servers[0], cache=cache, **settings) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    shared.mend()
    yield shared
    for node in shared.nodes:
        assert not [line for line in node.log.splitlines() if WRONG.search(line)], node.name


async def test_any_node_serves_any_session(stage: Stage) -> None:
    one, two = stage.ports
    for _ in range(8):  # their keys lie on all three servers
        async with Client(one, two) as client:
            await client.initialize()
            await client.call("remember", {"name": "colour", "value": "green"}, port=one)
            assert await (await client.call("recall", {"name": "colour"}, port=two)).text() == "green"
            stream = await client.get(port=two)
            await client.call("whisper", {"text": "hello"}, port=one)
            assert (await some_events(stream, 1))[0].message["params"]["data"] == "hello"
            assert (await client.delete(port=one)).status == 204
            assert await events_of(stream) == []
            assert (await client.call("add", {"a": 1, "b": 2}, port=two)).status == 404


async def test_a_call_is_resumed_asked_and_cancelled_across_nodes(stage: Stage, caller: Client) -> None:
    two = stage.ports[1]
    answer = await caller.call("count", {"name": "resumed"})
    seen = await some_events(answer, 2)
    resumed = await caller.get(seen[-1].id, two)
    assert numbers(await some_events(resumed, 1)) == [3]
    stage.open("resumed")
    assert numbers(await events_of(resumed)) == [4]
    asked = await caller.call("ask")
    [question] = await some_events(asked, 1)
    await caller.reply(question.message["id"], {"action": "accept", "content": {"name": "Ada"}}, port=two)
    assert await asked.text() == "accept Ada"
    long = await caller.call("count", {"name": "cancelled"}, id=77)
    await some_events(long, 1)
    await caller.notify("notifications/cancelled", {"requestId": 77}, port=two)
    await stage.await_pids("cancelled", "cancelled")


async def test_all_hear_an_announcement(stage: Stage, caller: Client) -> None:
    one, two = stage.ports
    stream = await caller.get(port=two)
    await caller.call("announce", port=one)
    [event] = await some_events(stream, 1)
    assert event.message["method"] == "notifications/tools/list_changed"


async def test_the_calls_of_a_killed_node_end_or_run_again(stage: Stage, caller: Client) -> None:
    victim, other = stage.nodes
    lost = await caller.call("count", {"name": "lost"})
    durable = await caller.call("count_durably", {"name": f"durable-{victim.pid}"})
    seen = [await some_events(lost, 3), await some_events(durable, 3)]
    victim.kill()
    resumed = [await caller.get(events[-1].id, other.port) for events in seen]
    [event] = await events_of(resumed[0], SOON)
    assert_lost(event.message, retryable=False)
    again = await some_events(resumed[1], 3)
    stage.open(f"durable-{victim.pid}")
    [result] = await events_of(resumed[1])
    assert numbers([*again, result]) == list(range(1_000_000_001, 1_000_000_005))
    assert result.message["result"]["content"][0]["text"] == f"counted to 3 on {other.pid}"


async def test_it_is_one_cluster_indeed(stage: Stage, caller: Client, servers: list[RedisServer]) -> None:
    for _ in range(20):
        await caller.initialize()
    await until(lambda: all(server.ask("DBSIZE") for server in servers), "keys on each server")


async def test_nodes_share_rate_limits_whose_keys_lie_elsewhere(stage: Stage, servers: list[RedisServer]) -> None:
    """A session's script cannot change them: the nodes decide, and settle each with a command of its own."""
    async with Client(*stage.ports) as client:
        await client.initialize()
        refused = []
        for number in range(112):
            answer = await client.call("add", {"a": 1, "b": 1}, port=stage.ports[number % 2])
            refused.append("retry-after" in answer.headers)
    assert 94 <= refused.count(False) <= 110, "the rate, and a lease of five for each node"
    for server in servers:
        with server.connect() as redis:
            assert [name for name in redis.scan_iter("mcp:rate:*") if redis.pttl(name) == -1] == []
