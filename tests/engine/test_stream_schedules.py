"""One call, two nodes, a store that is slow or away, a client that comes and goes: no loss, no repeat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_transport.domain.policy import Policy
from tests.support.client import Answer, SessionClient
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import endpoint_of
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate, build_tools

STEPS = ["say", "say", "say", "read", "read", "cut", "resume here", "resume there", "retry here", "retry there"]
WORLD = ["settle", "settle", "tick", "hold", "release", "outage", "recovery"]


class Schedule:
    """A client that follows one call through everything that happens to it."""

    def __init__(self, queue: int) -> None:
        self.clock, self.gate = FakeClock(), Gate()
        policy = Policy(stream_queue=queue)
        self.store = FlakyBackend(policy, self.clock.now)
        self.nodes = [endpoint_of(build_tools(self.gate), self.clock, policy, self.store) for _ in range(2)]
        self.client = SessionClient(self.nodes[0])
        self.answer: Answer | None = None
        self.last_event_id = ""
        self.seen: list[Any] = []
        self.said = 0
        self.finished = False

    async def begin(self) -> None:
        await self.client.open()
        self.say()
        self.answer = await self.client.call("obey", id=1)
        await self.read()
        assert self.last_event_id.endswith("-0")

    def say(self) -> None:
        self.said += 1
        self.gate.orders.put_nowait(True)

    async def step(self, name: str) -> None:
        """Do what the client does next, or what happens around it."""
        match name.split():
            case ["say"]:
                self.say()
            case ["read"]:
                await self.read()
            case ["cut"]:
                self.cut()
            case ["resume", where]:
                await self.connect(where, retry=False)
            case ["retry", where]:
                await self.connect(where, retry=True)
            case _:
                await self.happen(name)

    async def happen(self, name: str) -> None:
        """Let something befall the store, or time pass."""
        match name:
            case "settle":
                await settle()
            case "tick":
                await self.clock.advance(15)
            case "hold":
                self.store.held.setdefault("append", asyncio.Event())
            case "release":
                self.release()
            case "outage":
                self.store.away = {"append", "read", "touch"}
            case "recovery":
                self.store.away = set()

    def release(self) -> None:
        if (held := self.store.held.pop("append", None)) is not None:
            held.set()

    def cut(self) -> None:
        if self.answer is not None:
            self.answer.close()
            self.answer = None

    async def connect(self, where: str, *, retry: bool) -> None:
        """Come back, with the old socket perhaps still open: by the last event, or with the same POST again."""
        node = self.nodes[where == "there"]
        async with asyncio.timeout(60):
            if retry:
                answer = await self.client.call("obey", id=1, endpoint=node)
                self.seen = []  # the stream begins again
                self.last_event_id = self.last_event_id.rpartition("-")[0] + "-0"
            else:
                answer = await self.client.get(self.last_event_id, endpoint=node)
        assert answer.status == 200, answer.body
        self.answer = answer

    async def read(self) -> bool:
        """Read one frame, if there is one; return whether there was."""
        if self.answer is None:
            return False
        reading = asyncio.ensure_future(self.answer.frame())
        for _ in range(3):
            await settle()
        if not reading.done():
            # As a client that waits: nothing was taken from the stream, and it is not left.
            await self.clock.advance(15)
            await settle()
        if not reading.done():
            reading.cancel()
            await asyncio.wait([reading])
            self.answer = None
            return False
        frame = reading.result()
        if frame is None:
            self.answer = None
            return False
        self.last_event_id = frame.id or self.last_event_id
        if frame.data:
            self.note(frame.message)
        return True

    def note(self, message: dict[str, Any]) -> None:
        if "result" in message:
            self.finished = True
            self.seen.append(message["result"]["content"][0]["text"])
        else:
            self.seen.append(message["params"]["progress"])

    async def end(self) -> None:
        """Let the store recover, end the call, and read what is left as a client does that comes back."""
        self.store.away = set()
        self.release()
        self.gate.orders.put_nowait(False)
        for _ in range(30):
            if self.finished:
                return
            await self.clock.advance(10)
            if not await self.read() and not self.finished:
                await self.connect("here", retry=False)
        raise AssertionError("the answer never came")


async def run(queue: int, steps: list[str]) -> None:
    schedule = Schedule(queue)
    await schedule.begin()
    try:
        for name in steps:
            await schedule.step(name)
        await schedule.end()
        assert schedule.seen == [*range(1, schedule.said + 1), "obeyed"]
        assert schedule.gate.runs == 1
        for node in schedule.nodes:
            schedule.cut()
            assert set(await left_behind(node)) == {"sessions"}
    finally:
        schedule.store.away = set()
        schedule.release()
        for node in schedule.nodes:
            await node.pool.stop()


generated = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
schedules = given(st.sampled_from([1, 3, 256]), st.lists(st.sampled_from(STEPS + WORLD), max_size=25))


@settings(generated, max_examples=10)
@schedules
def test_a_call_reaches_its_client_once_and_in_order(queue: int, steps: list[str]) -> None:
    asyncio.run(run(queue, steps))


@pytest.mark.slow
@settings(generated, max_examples=300)
@schedules
def test_a_call_reaches_its_client_once_and_in_order_whatever_happens(queue: int, steps: list[str]) -> None:
    asyncio.run(run(queue, steps))
