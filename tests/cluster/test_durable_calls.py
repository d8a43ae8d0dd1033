"""A durable call that ends or blocks the node which runs it costs two nodes, and no more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from mcp_transport.domain.session import session_key, short_id
from tests.support.cluster.stage import LEASE, SOON, Stage, assert_lost, events_of, some_events, until
from tests.support.http.client import Client
from tests.support.http.messages import calling, rpc
from tests.support.http.network import SocketAnswer
from tests.support.node import Node

TWO_CRASHES = 3 * SOON


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with Stage(["daphne", "uvicorn", "daphne", "uvicorn"], SSE_AFTER_SECONDS=0.2) as stage:
        yield stage


def alive(stage: Stage) -> list[Node]:
    return [node for node in stage.nodes if node.alive]


def short(client: Client) -> str:
    return short_id(session_key(client.session_id))


async def given_up(stage: Stage, client: Client, name: str) -> str:
    """Wait until operators are told of a call of that name; return the line."""
    pattern = re.compile(rf"given_up: .*session={short(client)} operation='tools/call {name}'.*")

    def lines() -> list[str]:
        return [line for node in stage.nodes for line in pattern.findall(node.fresh_log)]

    await until(lines, f"{name} is given up", TWO_CRASHES)
    [line] = set(lines())
    return line


async def rest_of(client: Client, stage: Stage, answer: SocketAnswer) -> list[dict[str, Any]]:
    """Read a stream to its end, where need be at a node that lives."""
    events = await events_of(answer, TWO_CRASHES)
    if answer.broken:
        events += await events_of(await client.get(answer.last_event_id, alive(stage)[0].port), TWO_CRASHES)
    return [event.message for event in events]


def assert_given_up(message: dict[str, Any]) -> None:
    assert message["error"]["code"] == -32603
    assert "2 servers were lost while running this call" in message["error"]["message"]
    assert message["error"]["data"] == {"retryable": False}


async def test_a_call_that_ends_its_process_ends_two(stage: Stage, caller: Client) -> None:
    answer = await caller.call("end_process", {"name": "fatal"})
    await some_events(answer, 1)
    (stage.folder / "fatal.fatal").touch()
    line = await given_up(stage, caller, "end_process")
    assert "runs=2" in line and "node=" in line
    assert len(alive(stage)) == 2
    assert_given_up((await rest_of(caller, stage, answer))[-1])
    # What a caller is told stays true, and the session goes on.
    port = alive(stage)[1].port
    assert_given_up(await (await caller.get(answer.last_event_id, port)).outcome())
    assert await (await caller.call("add", {"a": 1, "b": 2}, port=port)).text() == "3"
    newest = stage.redis.ask("LRANGE", f"mcp:{{{session_key(caller.session_id)}}}:h", 0, -1)
    assert any(" given_up tools/call%20end_process " in str(entry) for entry in newest), newest
    stage.mend()
    assert not stage.flights(caller)
    assert await (await caller.call("where", port=stage.ports[0])).text()
    assert len(stage.pids("fatal")) == 2, "a node that was started again does not run it"


async def test_a_call_that_blocks_its_node_beyond_the_lease_blocks_two(stage: Stage, caller: Client) -> None:
    answer = await caller.call("block_loop", {"name": "blocks", "seconds": 3 * LEASE})
    await given_up(stage, caller, "block_loop")
    messages = await rest_of(caller, stage, answer)
    assert_given_up(await (await caller.get(answer.last_event_id, stage.ports[0])).outcome(TWO_CRASHES))
    assert not [message for message in messages if "result" in message]
    for port in stage.ports:
        assert await (await caller.call("where", port=port)).text()
    assert len(stage.pids("blocks")) == 2
    assert len(set(stage.pids("blocks"))) == 2
    assert len(alive(stage)) == 4


async def test_a_client_that_sends_it_again_joins_it_and_is_told(stage: Stage, caller: Client) -> None:
    post = rpc("tools/call", calling("end_process", {"name": "again"}, {}), 7)
    (stage.folder / "again.fatal").touch()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await caller.post(post)
    again = None
    while again is None:  # the node that it comes to may be the one that runs it again
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            again = await caller.post(post, port=alive(stage)[-1].port)
    assert_given_up((await rest_of(caller, stage, again))[-1])
    assert len(stage.pids("again")) == 2


async def test_each_durable_call_of_a_session_counts_for_itself(stage: Stage, caller: Client) -> None:
    fatal = await caller.call("end_process", {"name": "one"})
    other = await caller.call("count_durably", {"name": "other"}, port=stage.ports[3])
    await some_events(fatal, 1)
    await some_events(other, 3)
    (stage.folder / "one.fatal").touch()
    await given_up(stage, caller, "end_process")
    assert_given_up((await rest_of(caller, stage, fatal))[-1])
    stage.open("other")
    messages = await rest_of(caller, stage, other)
    assert messages[-1]["result"]["content"][0]["text"].startswith("counted")
    assert len(stage.pids("other")) <= 2


async def test_in_a_batch_each_request_has_one_end(stage: Stage, caller: Client) -> None:
    await caller.initialize(version="2025-03-26")
    batch = [
        rpc("tools/call", calling("end_process", {"name": "batch"}, {"progressToken": "p"}), 21),
        rpc("tools/call", calling("count_durably", {"name": "batch-other"}, {}), 22),
        rpc("tools/call", calling("count", {"name": "batch-lost"}, {}), 23),
    ]
    answer = await caller.post(batch)
    await some_events(answer, 1)
    await stage.await_pids("batch-lost")
    (stage.folder / "batch.fatal").touch()
    await given_up(stage, caller, "end_process")
    messages = await rest_of(caller, stage, answer)
    ends = {message["id"]: message for message in messages if "method" not in message}
    assert sorted(ends) == [21, 22, 23]
    assert_given_up(ends[21])
    assert_given_up(ends[22])
    assert_lost(ends[23], retryable=False)
    assert len(alive(stage)) == 2


async def test_a_session_that_is_ended_meanwhile_has_nothing_run_again(stage: Stage, caller: Client) -> None:
    victim, other, *_ = stage.nodes
    answer = await caller.call("count_durably", {"name": "deleted"})
    await some_events(answer, 3)
    victim.kill()
    assert (await caller.delete(port=other.port)).status == 204
    await until(lambda: stage.redis.ask("ZCARD", "mcp:nodes") == 3, "the dead node is forgotten", TWO_CRASHES)
    assert len(stage.pids("deleted")) == 1
    assert (await caller.get(answer.last_event_id, other.port)).status == 404


async def test_drains_do_not_count_and_one_crash_is_still_made_up_for(stage: Stage, caller: Client) -> None:
    for drained in stage.nodes[:3]:
        answer = await caller.call("count_durably", {"name": "drained"}, id=7, port=drained.port)
        await some_events(answer, 3)
        drained.terminate()
        assert_lost((await events_of(answer, SOON))[-1].message, retryable=True)
        assert await asyncio.to_thread(drained.wait, SOON)
        drained.spawn()
    for drained in stage.nodes[:3]:
        drained.await_ready()
    stage.meet()
    last = stage.nodes[3]
    answer = await caller.call("count_durably", {"name": "drained"}, id=7, port=last.port)
    await some_events(answer, 3)
    last.kill()
    await stage.await_pids("drained", count=5, within=SOON)
    stage.open("drained")
    messages = await rest_of(caller, stage, answer)
    assert messages[-1]["result"]["content"][0]["text"].startswith("counted to 3")


async def test_a_tool_that_the_next_node_does_not_know_has_an_end() -> None:
    stage = Stage(SSE_AFTER_SECONDS=0.2)
    stage.nodes[1].variables["SITE_WITHOUT"] = "count_durably"
    with stage:
        async with Client(*stage.ports) as client:
            await client.initialize()
            answer = await client.call("count_durably", {"name": "moved"})
            await some_events(answer, 3)
            stage.nodes[0].kill()
            resumed = await client.get(answer.last_event_id, stage.ports[1])
            outcome = await resumed.outcome(SOON)
            assert "count_durably" in str(outcome), outcome
            assert len(stage.pids("moved")) == 1
            assert not stage.flights(client)
