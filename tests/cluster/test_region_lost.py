"""A region is lost in the middle of calls, with its table: their clients go on in the other one, within the bound.

`MCP_REGION_RUNS=100` tries a hundred times; `make test-regions` does.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any

import pytest

from mcp_transport.domain.session import session_key, short_id
from tests.support.cluster.regions import LOST, Region, Regions, pause_until
from tests.support.cluster.stage import assert_lost, events_of, numbers, some_events, until
from tests.support.http.answer import FOREVER, Event
from tests.support.http.client import Client

_random = SystemRandom()

RUNS = range(int(os.environ.get("MCP_REGION_RUNS", "5")))
BOUND = LOST + 15.0
"""Seconds after the loss of a region in which a client is served in another one: docs/howto/multi-region.md."""
WITHIN = BOUND if "MCP_REGION_RUNS" in os.environ else 60.0
"""What this machine gets for that: with all other tests beside this one, it has much else to do."""


@pytest.fixture(scope="module")
def regions() -> Iterator[Regions]:
    with Regions() as regions:
        yield regions


@dataclass
class Caller:
    """A client that is in the middle of a call, and goes on with it elsewhere."""

    client: Client
    tool: str
    name: str
    events: list[Event] = field(default_factory=list)
    sent: int = 1
    waited: float = 0.0

    async def begin(self, port: int) -> None:
        await self.client.initialize(port)
        answer = await self.client.call(self.tool, {"name": self.name, "steps": 3}, id=7, port=port)
        self.events += await some_events(answer, _random.choice([1, 3]), FOREVER)
        self._first = answer

    async def go_on(self, regions: Regions, lost_at: float, other: Region) -> Event:
        """Resume the stream at any port, or send the call again if the other region has never seen it."""
        self.events += await events_of(self._first)
        last: str | None = self.events[-1].id
        deadline = lost_at + WITHIN
        while True:
            port = _random.choice(other.nodes).port
            if last is not None:
                answer = await self.client.send(self.client._session.get(last), port, FOREVER)
            else:
                self.sent += 1
                regions.open(self.name)
                arguments = {"name": self.name, "steps": 3}
                answer = await self.client.call(self.tool, arguments, id=7, port=port, within=FOREVER)
            if answer.status == 200:
                self.waited = self.waited or time.monotonic() - lost_at
                if not answer.is_stream:
                    raise AssertionError(await answer.read())
                self.events += await events_of(answer, FOREVER)
                return self.events[-1]
            if answer.status == 400:  # its stream was not replicated
                last = None
            else:
                assert answer.status == 503, (answer.status, await answer.read())
                assert answer.headers["retry-after"]
            await pause_until(deadline, await answer.read(), other)


async def begin(regions: Regions, clients: list[Client], home: Region, label: str) -> list[Caller]:
    tools = ("count", "count_durably")
    callers = [Caller(client, tool, f"{label}-{tool}") for client, tool in zip(clients, tools, strict=True)]
    for caller in callers:
        await caller.begin(home.nodes[0].port)
        await regions.await_pids(caller.name)
    return callers


@pytest.mark.parametrize("run", RUNS)
async def test_a_lost_region(regions: Regions, run: int) -> None:
    home, other = regions.regions[:: 1 if run % 2 == 0 else -1]
    ports = [node.port for node in other.nodes]
    try:
        async with Client(*ports) as one, Client(*ports) as two:
            callers = await begin(regions, [one, two], home, f"run-{run}")
            await asyncio.sleep(_random.uniform(0, 1.5))
            await asyncio.to_thread(regions.lose, home)
            lost_at = time.monotonic()
            regions.open(callers[1].name)
            plain, durable = await asyncio.gather(*(caller.go_on(regions, lost_at, other) for caller in callers))
            for caller in callers:
                ids = [event.id for event in caller.events if event.data]
                assert len(set(ids)) == len(ids), "an event twice"
            check_runs(regions, callers, plain.message, durable.message)
            for client in (one, two):
                assert await (await client.call("add", {"a": 1, "b": 2}, port=ports[1])).text() == "3"
            print(f"run {run}: served again after {max(caller.waited for caller in callers):.1f} s")
    finally:
        await asyncio.to_thread(regions.replace, home)


def check_runs(regions: Regions, callers: list[Caller], plain: dict[str, Any], durable: dict[str, Any]) -> None:
    """Check that a call ran once for each time it was sent, or once more if it is durable."""
    if callers[0].sent == 1:
        assert_lost(plain, retryable=False)
    assert len(regions.pids(callers[0].name)) <= callers[0].sent
    assert len(regions.pids(callers[1].name)) <= callers[1].sent + 1
    if "error" in durable:  # its arguments were not replicated
        assert_lost(durable, retryable=True)
    else:
        assert durable["result"]["content"][0]["text"].startswith("counted")


def told(region: Region, event: str, client: Client) -> list[str]:
    """Return the nodes of a region that have logged an event of a client's session; daphne logs each line twice."""
    line = re.compile(rf"{event}: .*session={short_id(session_key(client.session_id))}\b")
    return [node.name for node in region.nodes if line.search(node.fresh_log)]


async def test_a_region_that_comes_back_gives_way(regions: Regions) -> None:
    home, other = regions.regions
    ports = [node.port for node in other.nodes]
    async with Client(*ports) as client:
        await client.initialize(home.nodes[0].port)
        key = session_key(client.session_id)
        stored = lambda: other.has(f"{home.name}|session#{key}")  # noqa: E731
        await until(stored, "the session is replicated", FOREVER)
        await asyncio.to_thread(regions.cut_off, home)
        try:
            deadline = time.monotonic() + WITHIN
            while (answer := await client.call("add", {"a": 1, "b": 2})).status == 503:
                assert answer.headers["retry-after"]
                assert answer.headers["x-mcp-region"] == other.name
                await pause_until(deadline, await answer.read(), other)
            assert await answer.text() == "3"
            assert len(told(other, "rehomed", client)) == 1
        finally:
            await asyncio.to_thread(regions.bring_back, home)
        # It is asked first, as by a client that returns to its nearest region.
        claimed = lambda: home.has(f"home#{key}")  # noqa: E731
        await until(claimed, "the claim is replicated", FOREVER)
        for node in (*home.nodes, *other.nodes):
            answer = await client.call("add", {"a": 1, "b": 2}, port=node.port)
            assert await answer.text() == "3"
        await until(
            lambda: len(told(home, "rehoming_yielded", client)) == 1, "the region that came back gives way", FOREVER
        )
        stream = await client.call("count", {"name": "after", "steps": 2}, port=home.nodes[1].port)
        assert numbers(await some_events(stream, 2)) == [1, 2]
        regions.open("after")
        assert "result" in (await events_of(stream))[-1].message
