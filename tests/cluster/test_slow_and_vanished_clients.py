"""Clients that do not read, or are no longer there without having said so."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.switch import Switch
from tests.support.cluster.stage import Stage, events_of, numbers, some_events
from tests.support.cluster.store import redis_of
from tests.support.http.answer import Event
from tests.support.http.client import Client
from tests.support.http.messages import calling
from tests.support.node import Node

KEPT = 500
STEPS = 15_000
LONG_TOKEN = "t" * 250
"""The longest that is taken; each report of progress repeats it."""
MEGABYTE = 1024 * 1024
DELAYED = 5.0
"""Seconds that tell a busy machine from a node that waits for its reader, for up to WRITE_TIMEOUT_SECONDS (30)."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(["uvicorn", "daphne"], LEASE_SECONDS=6.0, KEEPALIVE_SECONDS=1.0, STREAM_MAX_EVENTS=KEPT) as stage:
        yield stage


def peak_memory(node: Node) -> int:
    """Return how many bytes of a node were in memory at most."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{node.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def told_lost(event: Event) -> int:
    """Return how many messages a notice says are lost; 0 for what is no notice."""
    if event.message.get("method") != "notifications/message":
        return 0
    found = re.match(r"(\d+) messages of this stream are lost", event.message["params"]["data"])
    assert found is not None
    return int(found[1])


def assert_complete_or_told(events: list[Event], last: int) -> int:
    """Check that the numbers go from 1 to `last`, but for what notices say; return how many are lost."""
    expected, lost, untold = 1, 0, 0
    for event in events:
        [number] = numbers([event])
        if told := told_lost(event):
            untold = told
            lost += untold
            assert number == expected + untold - 1
            continue
        assert number == expected + untold
        expected, untold = number + 1, 0
    assert expected == last + 1
    return lost


@pytest.mark.parametrize("number", [0, 1], ids=["uvicorn", "daphne"])
async def test_who_does_not_read_delays_nobody(stage: Stage, number: int) -> None:
    redis_of(stage.store)  # of a node with DynamoDB, boto3 takes more memory than is measured
    node = stage.nodes[number]
    stage.open("slow")
    before = peak_memory(node)
    async with Client(node.port) as other, Client(node.port, receive_buffer=4096) as slow:
        await other.initialize()
        await slow.initialize()
        call = calling("count", {"name": "slow", "steps": STEPS, "pause": 1e-6}, {"progressToken": LONG_TOKEN})
        answer = await slow.request("tools/call", call)
        longest = 0.0
        while stage.flights(slow):
            asked = time.monotonic()
            assert await (await other.call("add", {"a": 1, "b": 2})).text() == "3"
            longest = max(longest, time.monotonic() - asked)
        assert longest < DELAYED
        events = await events_of(answer)
        lost = assert_complete_or_told(events, STEPS + 1)
        assert events[-1].message["result"]["content"][0]["text"].startswith("counted")
        assert lost > 0
        assert peak_memory(node) - before < 8 * MEGABYTE
        await stage.await_happening("lost", node)


@pytest.mark.parametrize("number", [0, 1], ids=["on the same node", "elsewhere"])
async def test_who_vanished_without_a_word_comes_back_to_its_stream(stage: Stage, number: int) -> None:
    """The old socket is still open, as far as its node can know."""
    with Switch(stage.ports[0]) as switch:
        async with Client(switch.port, *stage.ports) as client:
            await client.initialize()
            old = await client.get()
            await client.call("whisper", {"text": "one"})
            [one] = await some_events(old, 1)
            switch.swallow()
            before = stage.happenings(stage.nodes[0])["superseded"]
            await client.call("whisper", {"text": "two"}, port=stage.ports[1])
            new = await client.get(one.id, stage.ports[number])
            assert new.status == 200
            [two] = await some_events(new, 1)
            await client.call("whisper", {"text": "three"}, port=stage.ports[0])
            [three] = await some_events(new, 1)
            assert [event.message["params"]["data"] for event in (two, three)] == ["two", "three"]
            assert numbers([one, two, three]) == [1, 2, 3]
            if number == 1:  # on the same node, the new socket simply takes the old one's place
                await stage.await_happening("superseded", stage.nodes[0], more_than=before)
            old.cut()


async def test_who_vanished_from_a_call_resumes_it_elsewhere(stage: Stage) -> None:
    with Switch(stage.ports[0]) as switch:
        async with Client(switch.port, *stage.ports) as client:
            await client.initialize()
            old = await client.call("count", {"name": "vanished", "steps": 100, "pause": 0.01})
            seen = await some_events(old, 5)
            switch.swallow()
            resumed = await client.get(seen[-1].id, stage.ports[1])
            stage.open("vanished")
            assert numbers(await events_of(resumed)) == list(range(6, 102))
            old.cut()
