"""A node is killed in the middle of calls: each client gets an end, within the lease and a few seconds.

All scenes of the play are on stage when the node dies, once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from tests.cluster.scenes import Catastrophe, Play
from tests.support.cluster.stage import SOON, Stage, assert_lost, events_of, numbers, some_events, until
from tests.support.http.client import Client
from tests.support.http.messages import calling, rpc
from tests.support.http.network import SocketAnswer

play = Play()
SWEPT = "to take over"
"""What a node logs as it begins to look after a dead one."""
ALL_JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module", params=["redis", "dynamodb"])
def shared(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with Stage(["daphne", "uvicorn", "daphne"], store=request.param, SSE_AFTER_SECONDS=0.2) as stage:
        yield stage


@pytest.fixture(scope="module")
def outcomes(shared: Stage) -> dict[str, Any]:
    shared.mend()
    return asyncio.run(play.perform(shared, shared.nodes[0].kill))


@play.scene
async def test_before_its_first_event(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("silent", {"name": "before"})
    priming = await answer.next_event()
    assert priming is not None and priming.id is not None
    assert priming.id.endswith("-0")
    await scene.strikes()
    assert await answer.next_event() is None
    assert answer.broken
    resumed = await client.get(priming.id, scene.other.port)
    [event] = await events_of(resumed, SOON)
    assert_lost(event.message, retryable=False)
    assert numbers([event]) == [1_000_000_001]


@play.scene
async def test_while_it_streams(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count", {"name": "streams", "steps": 10_000, "pause": 0.01})
    await some_events(answer, 3)
    await scene.strikes()
    before = await events_of(answer)
    assert answer.broken
    seen = numbers(before)
    resumed = await client.get(answer.last_event_id, scene.other.port)
    *rest, last = await events_of(resumed, SOON)
    assert seen + numbers(rest) == list(range(4, 4 + len(seen) + len(rest)))
    assert numbers([last])[0] % 1_000_000_000 == 1
    assert_lost(last.message, retryable=False)


@play.scene
async def test_after_the_last_event_and_before_the_answer(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count_safely", {"name": "last"})
    assert numbers(await some_events(answer, 3)) == [1, 2, 3]
    await scene.strikes()
    resumed = await client.get(answer.last_event_id, scene.other.port)
    [event] = await events_of(resumed, SOON)
    assert_lost(event.message, retryable=True)  # it is read-only
    # What the client is told stays true, whenever and wherever it asks.
    again = await client.get(answer.last_event_id, scene.stage.ports[2])
    assert await events_of(again) == [event]


@play.scene
async def test_while_it_waits_for_the_users_reply(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("ask")
    [question] = await some_events(answer, 1)
    assert question.message["method"] == "elicitation/create"
    await scene.strikes()
    accepted = {"action": "accept", "content": {"name": "Ada"}}
    reply = await client.reply(question.message["id"], accepted, port=scene.other.port, within=SOON)
    assert reply.status == 202
    resumed = await client.get(question.id, scene.other.port)
    assert_lost((await events_of(resumed, SOON))[-1].message, retryable=False)


@play.scene
async def test_an_unanswered_post_that_its_client_sends_again_elsewhere(scene: Catastrophe, client: Client) -> None:
    client.headers = ALL_JSON
    post = rpc("tools/call", calling("silent", {"name": "retried"}, {}), 7)
    first = asyncio.ensure_future(client.post(post))
    await scene.stage.await_pids("retried")
    await scene.strikes()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await first
    client.headers = {}
    again = await client.post(post, port=scene.other.port)
    assert again.is_stream
    assert_lost(await again.outcome(SOON), retryable=False)
    assert len(scene.stage.pids("retried")) == 1


@play.scene
async def test_calls_with_a_key_that_their_client_sends_again_elsewhere(scene: Catastrophe, client: Client) -> None:
    def post(tool: str) -> Coroutine[Any, Any, SocketAnswer]:
        client.headers = {"Idempotency-Key": f'"{tool}"'}
        return client.post(rpc("tools/call", calling(tool, {"name": tool}, {}), tool), next(ports))

    tools, third = ("silent", "count_durably"), scene.stage.ports[2]
    ports = iter([scene.victim.port] * 2 + [scene.other.port] * 2 + [third, scene.other.port])
    for tool in tools:
        await post(tool)
        await scene.stage.await_pids(tool)
    await scene.strikes()
    again = [await post(tool) for tool in tools]
    scene.stage.open("count_durably")
    lost, result = [(await events_of(answer, SOON))[-1].message for answer in again]
    assert_lost(lost, retryable=False)
    assert result["result"]["content"][0]["text"].startswith("counted")
    assert len(scene.stage.pids("silent")) == 1
    # What the client is told stays true, and nothing runs any more.
    assert await (await post("silent")).outcome(SOON) == lost
    assert (await (await post("count_durably")).outcome(SOON)) == result
    assert [len(scene.stage.pids(tool)) for tool in tools] == [1, 2]


@play.scene
async def test_an_unanswered_post_that_its_client_gives_up(scene: Catastrophe, client: Client) -> None:
    client.headers = ALL_JSON
    answer = asyncio.ensure_future(client.call("silent", {"name": "given-up"}, id=7))
    await scene.stage.await_pids("given-up")
    # Nobody will ask for it: the sweep finds it if a beat has noted it, as it does every third of the lease.
    await until(lambda: scene.stage.journaled(client), "the beat notes the call")
    await scene.strikes()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await answer
    # The session goes on, and so does, after a while, its use of that id.
    other = await client.call("add", {"a": 1, "b": 2}, port=scene.other.port)
    assert await other.text() == "3"
    await until(lambda: not scene.stage.flights(client), "its books are empty", SOON)
    other = await client.call("add", {"a": 1, "b": 2}, id=7, port=scene.other.port)
    assert await other.text() == "3"


@play.scene
async def test_while_another_node_holds_the_stream(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count", {"name": "held"})
    seen = await some_events(answer, 2)
    answer.cut()
    resumed = await client.get(seen[-1].id, scene.other.port)
    assert numbers(await some_events(resumed, 1)) == [3]
    await scene.strikes()
    [event] = await events_of(resumed, SOON)
    assert numbers([event]) == [1_000_000_001]
    assert_lost(event.message, retryable=False)


@play.scene
async def test_while_nobody_holds_the_stream(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count", {"name": "alone"})
    seen = await some_events(answer, 1)
    stream = str(seen[0].id).partition("-")[0]
    await until(lambda: scene.stage.store.stream(client.session_id, stream).get("last") == 3, "all events are stored")
    answer.cut()
    await scene.strikes()
    await asyncio.sleep(SOON)  # the sweep has come and gone when the client is back
    resumed = await client.get(seen[-1].id, scene.other.port)
    events = await events_of(resumed)
    assert numbers(events) == [2, 3, 1_000_000_001]
    assert_lost(events[-1].message, retryable=False)


@play.scene
async def test_a_synchronous_tool(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("blocking", {"name": "thread"})
    await answer.next_event()
    await scene.strikes()
    resumed = await client.get(answer.last_event_id, scene.other.port)
    [event] = await events_of(resumed, SOON)
    assert_lost(event.message, retryable=False)


@play.scene
async def test_a_durable_tool_runs_again_under_the_same_stream(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count_durably", {"name": "durable"})
    seen = await some_events(answer, 3)
    await scene.strikes()
    resumed = await client.get(seen[-1].id, scene.other.port)
    again = await some_events(resumed, 3)
    scene.stage.open("durable")
    [result] = await events_of(resumed)
    assert numbers([*seen, *again, result]) == [1, 2, 3, *range(1_000_000_001, 1_000_000_005)]
    first, second = scene.stage.pids("durable")
    assert first == scene.victim.pid != second
    assert result.message["result"]["content"][0]["text"] == f"counted to 3 on {second}"
    await scene.stage.await_happening("rerun", *scene.stage.nodes[1:])


@play.scene
async def test_a_durable_tool_that_had_said_nothing(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count_durably", {"name": "mute", "steps": 0})
    priming = await answer.next_event()
    assert priming is not None
    await scene.strikes()
    resumed = await client.get(priming.id, scene.other.port)
    await scene.stage.await_pids("mute", count=2)
    scene.stage.open("mute")
    assert numbers(await events_of(resumed)) == [1_000_000_001]


@play.scene
async def test_of_a_batch_each_request_is_answered_once(scene: Catastrophe, client: Client) -> None:
    await client.initialize(version="2025-03-26")
    batch = [
        rpc("tools/call", calling("add", {"a": 1, "b": 2}, {}), 21),
        rpc("tools/call", calling("count", {"name": "batch"}, {"progressToken": "p"}), 22),
        rpc("tools/call", calling("count_durably", {"name": "batch"}, {}), 23),
        rpc("tools/call", calling("count_safely", {"name": "batch"}, {}), 24),
    ]
    answer = await client.post(batch)
    events = await some_events(answer, 4)
    # An answer goes to the socket before it is stored: one that nobody has stored would be given again.
    await until(lambda: len(scene.stage.flights(client)) == 3, "the answer is stored")
    await scene.strikes()
    resumed = await client.get(events[-1].id, scene.other.port)
    await scene.stage.await_pids("batch", count=4)
    scene.stage.open("batch")
    events += await events_of(resumed, SOON)
    answers = [event.message for event in events if "method" not in event.message]
    assert sorted(message["id"] for message in answers) == [21, 22, 23, 24]
    by_id = {message["id"]: message for message in answers}
    assert by_id[21]["result"]["content"][0]["text"] == "3"
    assert_lost(by_id[22], retryable=False)
    assert by_id[23]["result"]["content"][0]["text"].startswith("counted")
    assert_lost(by_id[24], retryable=True)


@play.scene
async def test_the_get_stream_goes_on_elsewhere(scene: Catastrophe, client: Client) -> None:
    stream = await client.get()
    await client.call("whisper", {"text": "one"}, port=scene.other.port)
    [one] = await some_events(stream, 1)
    await scene.strikes()
    assert await events_of(stream) == []
    await client.call("whisper", {"text": "two"}, port=scene.other.port)
    resumed = await client.get(one.id, scene.other.port)
    [two] = await some_events(resumed, 1)
    assert [event.message["params"]["data"] for event in (one, two)] == ["one", "two"]
    assert numbers([one, two]) == [1, 2]


@play.scene
async def test_it_is_counted_and_logged(scene: Catastrophe, client: Client) -> None:
    survivors = scene.stage.nodes[1:]
    await scene.strikes()
    for node in survivors:
        await scene.stage.await_happening("node_lost", node)
    await scene.stage.await_happening("abandoned", *survivors)


async def test_the_node_that_looks_after_the_dead_one_dies_too(stage: Stage, caller: Client) -> None:
    first = stage.nodes[0]
    names = [f"twice-{number}" for number in range(5)]
    answers = [await caller.call("count_durably", {"name": name}) for name in names]
    lost = await caller.call("count", {"name": "twice-lost"})
    for answer in [*answers, lost]:
        assert numbers(await some_events(answer, 3)) == [1, 2, 3]
    survivors = stage.nodes[1:]
    before = {node: node.fresh_log.count(SWEPT) for node in survivors}
    first.kill()
    await until(lambda: any(node.fresh_log.count(SWEPT) > before[node] for node in survivors), "the sweep", SOON)
    second = next(node for node in survivors if node.fresh_log.count(SWEPT) > before[node])
    second.kill()
    [third] = (node for node in survivors if node is not second)
    for name in names:
        stage.open(name)
    # Nobody asks for these calls: the sweep alone finds them, also those that the second node had taken over, of
    # which nobody knows whether it had begun to run them.
    await until(lambda: len(stage.flights(caller)) <= 1, "each durable call has an end", 3 * SOON)
    for name, answer in zip(names, answers, strict=True):
        resumed = await caller.get(answer.last_event_id, third.port)
        events = await events_of(resumed)
        assert len(set(numbers(events))) == len(events)
        assert all(number > 1_000_000_000 for number in numbers(events))
        outcome = events[-1].message
        if third.pid in stage.pids(name):
            assert outcome["result"]["content"][0]["text"] == f"counted to 3 on {third.pid}"
        else:
            assert_lost(outcome, retryable=False)
    assert_lost(await (await caller.get(lost.last_event_id, third.port)).outcome(), retryable=False)
