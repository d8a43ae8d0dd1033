"""Two regions with a Redis each and the same SECRET_KEY: one is lost in the middle of a call, and comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_transport.client import Client, ResultUnknown
from tests.client.kills import TOOLS, urls
from tests.support.cluster.stage import Stage, until

pytestmark = pytest.mark.servers
HERE, THERE = "eu-west-1", "us-east-1"
STEPS = 4
RUNS = int(os.environ.get("REGION_RUNS", "5"))


class Traveller:
    """A client of both regions, the nearer one first, and what it has heard."""

    def __init__(self, here: Stage, there: Stage, **options: Any) -> None:
        self.here, self.there = here, there
        self.messages: list[str] = []
        self.regions: list[str] = []
        self.losses: list[str] = []
        self.progress: list[float] = []
        self.client = Client(
            [*urls(here), *urls(there)],
            logging_callback=self._logged,
            on_region_changed=self.regions.append,
            on_session_lost=lambda: self.losses.append("lost"),
            **{"deadline": 5.0, "mode": "legacy", **options},
        )

    async def _logged(self, params: Any) -> None:
        self.messages.append(str(params.data))

    async def call(self, tool: str, /, **arguments: Any) -> str:
        result = await self.client.call_tool(tool, arguments)
        return str(getattr(result.content[0], "text", ""))

    async def hears(self, text: str) -> None:
        """Have the server send a message on the GET stream, and wait for it."""
        await self.call("whisper", text=text)
        await until(lambda: self.messages[-1:] == [text], f"{text} on the GET stream")

    async def count(self, tool: str, name: str, lose: Stage, step: int) -> str:
        """Call a tool whose region is lost after one of its steps."""

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append(progress)
            if progress == step and len(lose.pids(name)) == 1 and lose.nodes[0].alive:
                for node in lose.nodes:
                    node.kill()

        for stage in (self.here, self.there):
            stage.open(name)
        arguments = {"name": name, "steps": STEPS, "pause": 0.1}
        result = await self.client.call_tool(tool, arguments, progress_callback=progressed)
        return str(getattr(result.content[0], "text", ""))


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Stage, Stage]]:
    with Stage(("daphne", "uvicorn"), REGION=HERE) as here, Stage(("daphne",), REGION=THERE) as there:
        yield here, there


@pytest.fixture
def regions(both: tuple[Stage, Stage]) -> tuple[Stage, Stage]:
    for stage in both:
        stage.mend()
    return both


@pytest.mark.parametrize("run", range(RUNS))
async def test_a_region_is_lost_in_mid_call(regions: tuple[Stage, Stage], run: int) -> None:
    """The session goes on without its state; a tool that may run once does not run again.

    `make failover-regions` repeats this 100 times.
    """
    here, there = regions
    tool, step = TOOLS[run % len(TOOLS)], 1 + run // len(TOOLS) % (STEPS - 1)
    traveller, name = Traveller(here, there), f"lost-{run}"
    async with traveller.client as client:
        session_id = client.save_session().session_id
        await traveller.call("remember", name="color", value="blue")
        await traveller.hears("one")
        if tool == "count_safely":
            assert await traveller.count(tool, name, here, step) == f"counted to {STEPS} on {there.nodes[0].pid}"
            assert traveller.progress == sorted({*traveller.progress})
        else:
            with pytest.raises(ResultUnknown):
                await traveller.count(tool, name, here, step)
        assert client.region == THERE
        assert (len(here.pids(name)), len(there.pids(name))) == (1, int(tool == "count_safely"))
        assert await traveller.call("recall", name="color") == ""
        await traveller.hears("two")
        assert client.save_session().session_id == session_id
        client.end_session_on_close()
    assert (traveller.regions, traveller.losses) == ([THERE], [])
    assert traveller.messages == ["one", "two"]


@pytest.mark.parametrize("keeps_data", [True, False], ids=["kept", "emptied"])
async def test_a_client_returns_to_a_region_that_is_back(regions: tuple[Stage, Stage], keeps_data: bool) -> None:
    """No call of the user is its probe, and what runs in the other region goes on there."""
    here, there = regions
    traveller = Traveller(here, there)
    async with traveller.client as client:
        await traveller.call("remember", name="color", value="blue")
        await traveller.hears("one")
        for node in here.nodes:
            node.kill()
        await traveller.hears("two")
        await traveller.call("remember", name="color", value="red")
        if not keeps_data:
            here.redis.ask("FLUSHALL")
        running = asyncio.ensure_future(traveller.call("silent", name="stays"))
        await there.await_pids("stays")
        await asyncio.to_thread(here.mend)
        await until(lambda: client.region == HERE, "the client is back", 60.0)
        await traveller.hears("three")
        assert await traveller.call("recall", name="color") == ("blue" if keeps_data else "")
        there.open("stays")
        assert await running == f"done on {there.nodes[0].pid}"
        assert int(await traveller.call("where")) in [node.pid for node in here.nodes]
    assert (traveller.regions, traveller.losses) == ([THERE, HERE], [])
    assert traveller.messages == ["one", "two", "three"]
