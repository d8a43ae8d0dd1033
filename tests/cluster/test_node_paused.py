"""A node stands still for longer than its lease, others take over, it wakes: nobody sees two results.

SIGSTOP befalls the node once for all scenes of the play; one that is shorter than the lease has a test of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.scenes import Catastrophe, Play
from tests.support.cluster.stage import LEASE, SOON, Stage, assert_lost, events_of, numbers, some_events, until
from tests.support.http.answer import FOREVER, Event
from tests.support.http.client import Client
from tests.support.http.messages import calling, rpc

play = Play()

LOSS = 1_000_000_001
"""The number of the first event of a second writer."""


@pytest.fixture(scope="module", params=["redis", "dynamodb"])
def shared(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with Stage(["daphne", "uvicorn"], store=request.param, SSE_AFTER_SECONDS=0.2) as stage:
        yield stage


@pytest.fixture(scope="module")
def outcomes(shared: Stage) -> dict[str, Any]:
    shared.mend()
    return asyncio.run(play.perform(shared, shared.nodes[0].pause))


async def in_journal(scene: Catastrophe, client: Client, calls: int = 1) -> None:
    """Wait until the node's journal has the client's calls; others would be found when their client resumes them."""
    await until(lambda: scene.stage.journaled(client) == calls, "the calls are in their node's journal")


async def taken_over(scene: Catastrophe) -> None:
    """Wait until the other node has claimed all calls of the one that stands still; then let that one go on."""
    await scene.strikes()
    await scene.stage.await_happening("abandoned", scene.other)
    # A busy machine takes long for the calls of all scenes at once.
    claimed = "all calls of the node that stands still are claimed"
    await until(lambda: not scene.stage.has_orphans(), claimed, FOREVER)
    scene.victim.resume()


def assert_no_result(events: list[Event]) -> None:
    """Assert that an old socket has closed without an answer, or with the one that the other node has written."""
    for event in events:
        assert "method" in event.message or (numbers([event]) == [LOSS] and events[-1] is event)
        if "method" not in event.message:
            assert_lost(event.message, retryable=False)


@play.scene
async def test_on_the_old_socket_comes_no_result(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count", {"name": "old-socket"})
    seen = await some_events(answer, 3)
    await in_journal(scene, client)
    await scene.strikes()
    scene.stage.open("old-socket")  # the tool returns as soon as its node wakes
    await taken_over(scene)
    assert_no_result(await events_of(answer))
    resumed = await client.get(seen[-1].id, scene.victim.port)
    [event] = await events_of(resumed)
    assert numbers([event]) == [LOSS]
    assert_lost(event.message, retryable=False)


@play.scene
async def test_its_handlers_stop(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count", {"name": "stops"})
    quiet = await client.call("silent", {"name": "stops-quiet"})
    await some_events(answer, 3)
    await in_journal(scene, client, 2)
    await taken_over(scene)
    assert await scene.stage.await_pids("stops", "cancelled") == [scene.victim.pid]
    assert await scene.stage.await_pids("stops-quiet", "cancelled") == [scene.victim.pid]
    await scene.stage.await_happening("fenced", scene.victim)
    assert_no_result(await events_of(answer))
    assert_no_result(await events_of(quiet))


@play.scene
async def test_on_a_socket_resumed_meanwhile_comes_the_loss_alone(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count", {"name": "resumed", "steps": 10_000, "pause": 0.01})
    await some_events(answer, 3)
    await scene.strikes()
    # Everything that left before; the rest of it may be in nobody's log.
    resumed = await client.get(answer.last_event_id, scene.other.port)
    events = await events_of(resumed, SOON)
    assert_lost(events[-1].message, retryable=False)
    await taken_over(scene)
    assert_no_result(await events_of(answer))
    assert (await client.get(resumed.last_event_id, scene.victim.port)).status == 204


@play.scene
async def test_a_json_answer_not_yet_sent_is_none(scene: Catastrophe, client: Client) -> None:
    client.headers = {"Accept": "application/json"}
    post = rpc("tools/call", calling("silent", {"name": "json"}, {}), 7)
    answer = asyncio.ensure_future(client.post(post, within=2 * SOON))
    await scene.stage.await_pids("json")
    await in_journal(scene, client)
    await scene.strikes()
    await taken_over(scene)
    scene.stage.open("json")
    refusal = await answer
    assert "result" not in (body := await refusal.json()), body
    assert refusal.status == 503, body


@play.scene
async def test_a_durable_call_has_one_result_on_all_sockets(scene: Catastrophe, client: Client) -> None:
    answer = await client.call("count_durably", {"name": "durable"})
    seen = await some_events(answer, 3)
    await in_journal(scene, client)
    await scene.strikes()
    await scene.stage.await_pids("durable", count=2)
    await taken_over(scene)
    await scene.stage.await_pids("durable", "cancelled")
    resumed = await client.get(seen[-1].id, scene.victim.port)
    again = await some_events(resumed, 3)
    scene.stage.open("durable")
    old, events = await events_of(answer), [*again, *await events_of(resumed)]
    assert numbers(events) == [*range(LOSS, LOSS + 4)]
    assert old == events[: len(old)] and len(old) < len(events)
    text = events[-1].message["result"]["content"][0]["text"]
    assert text == f"counted to 3 on {scene.other.pid}"


@play.scene
async def test_questions_asked_before_are_answered_in_vain(scene: Catastrophe, client: Client) -> None:
    answers = [await client.call("ask") for _ in range(20)]
    questions = [(await some_events(answer, 1))[0] for answer in answers]
    await in_journal(scene, client, len(answers))
    await taken_over(scene)
    accepted = {"action": "accept", "content": {"name": "Ada"}}
    for question in questions:
        assert (await client.reply(question.message["id"], accepted, port=scene.other.port)).status == 202
    for answer, question in zip(answers, questions, strict=True):
        assert_no_result(await events_of(answer))
        resumed = await client.get(question.id, scene.other.port)
        assert_lost((await events_of(resumed))[-1].message, retryable=False)


@play.scene
async def test_it_serves_again(scene: Catastrophe, client: Client) -> None:
    stream = await client.get()
    await taken_over(scene)
    assert await (await client.call("add", {"a": 1, "b": 2})).text() == "3"
    await client.call("whisper", {"text": "still here"}, port=scene.other.port)
    [event] = await some_events(stream, 1)
    assert event.message["params"]["data"] == "still here"


async def test_a_pause_shorter_than_the_lease_loses_nothing(stage: Stage, caller: Client) -> None:
    node = stage.nodes[0]
    answer = await caller.call("count", {"name": "short", "steps": 50, "pause": 0.02})
    await some_events(answer, 3)
    before = stage.happenings(node)
    node.pause()
    await asyncio.sleep(LEASE / 2)
    node.resume()
    stage.open("short")
    rest = await events_of(answer)
    assert numbers(rest) == list(range(4, 52))
    assert rest[-1].message["result"]["content"][0]["text"] == f"counted to 50 on {node.pid}"
    assert stage.happenings(node)["fenced"] == before["fenced"]
    assert not stage.pids("short", "cancelled")
