"""Random schedules of two regions that fail and return, with callers that are cancelled: nothing is left of any."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from mcp_transport.client import Client, ClientError
from mcp_transport.client import regions as regions_module
from tests.client.scripted import STREAM, Answer, ReceivedRequest, Script, Write, body, json_answer, raw

KEYS: dict[str, Any] = {"tools": {}, "experimental": {"mcp_transport/idempotencyKey": {"keepSeconds": 300}}}
CALLERS, CALLS = 6, 4
PROGRESS = b'id: s-1\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}\n\n'


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe nearer regions without a pause."""
    monkeypatch.setattr(regions_module, "_PROBE_SECONDS", 0.01)


class Region:
    """Answers each request in one of several ways, by chance; `runs` counts calls, each idempotency key once."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self._chance = chance
        self.runs: Counter[str] = Counter()
        self._keys: set[bytes] = set()
        answers: dict[str, list[Answer]] = {"tools/call": [self._call], "ping": [self._ping], "GET": [self._get]}
        self.script = Script(answers, KEYS, region=name)
        self.is_well = False

    def _fault(self) -> Answer | None:
        faults: list[Answer | None] = [
            body("404 Not Found", "text/plain", b"no such session"),
            body("503 Service Unavailable", "text/plain", b"", "Retry-After: 0"),
            raw(b""),
            None,
            None,
            None,
        ]
        return None if self.is_well else self._chance.choice(faults)

    async def _call(self, received: ReceivedRequest, write: Write) -> None:
        fault = self._fault()
        text = received.message["params"]["arguments"]["name"]
        is_refused = fault is not None and self._chance.random() < 0.5
        if not is_refused and (key := _key(received)) not in self._keys:
            self._keys.add(key)
            self.runs[text] += 1
        await asyncio.sleep(self._chance.random() * 0.02)
        if fault is not None:
            await (fault if is_refused else raw(b""))(received, write)
        elif self._chance.random() < 0.3 and not self.is_well:
            await write(STREAM + PROGRESS)  # and then nothing: the stream breaks
        else:
            await json_answer({"content": [{"type": "text", "text": text}]})(received, write)

    async def _ping(self, received: ReceivedRequest, write: Write) -> None:
        await (self._fault() or json_answer({}))(received, write)

    async def _get(self, received: ReceivedRequest, write: Write) -> None:
        await body("400 Bad Request", "text/plain", b"no such event")(received, write)


def _key(received: ReceivedRequest) -> bytes:
    found = re.search(rb"\r\nidempotency-key: (.+?)\r\n", received.head + b"\r\n", re.I)
    assert found is not None
    return found[1]


async def call(client: Client, name: str, chance: random.Random) -> str:
    """Call a tool, and cancel some of the calls by chance; return how it ended."""
    tool = chance.choice(["act", "look"])
    task = asyncio.ensure_future(client.call_tool(tool, {"name": f"{tool}-{name}"}))
    will_cancel = chance.random() < 0.4
    if will_cancel:
        await asyncio.wait({task}, timeout=chance.random() * 0.05)
        task.cancel()
    try:
        result = await task
    except asyncio.CancelledError:
        assert will_cancel, "another caller's cancellation"
        return "cancelled"
    except (ClientError, MCPError):  # the latter for a new session that is unknown as well
        return "no result"
    assert getattr(result.content[0], "text", "") == f"{tool}-{name}"
    return "result"


async def succeeds(client: Client) -> None:
    """Call until the circuits have closed."""
    async with asyncio.timeout(60):
        while True:
            with suppress(ClientError, MCPError):
                assert not (await client.call_tool("look", {"name": "look-again"})).is_error
                return


@pytest.mark.parametrize("seed", range(12))
async def test_no_cancellation_reaches_another_caller_and_nothing_is_left(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    regions = [Region(name, chance) for name in ("eu", "us")]
    outcomes: Counter[str] = Counter()

    async def caller(number: int) -> None:
        for turn in range(CALLS):
            outcomes[await call(client, f"{number}-{turn}", chance)] += 1

    async with regions[0].script.serve() as here, regions[1].script.serve() as there:
        before = asyncio.all_tasks()
        client = Client([here, there], mode="legacy", deadline=1.0, attempt_timeout=0.5)
        async with client:
            await asyncio.gather(*(caller(number) for number in range(CALLERS)))
            for region in regions:
                region.is_well = True
            await succeeds(client)
        left = {task for task in asyncio.all_tasks() - before if "serve" not in repr(task.get_coro())}
        if left:  # those that the client has cancelled need a moment
            _, left = await asyncio.wait(left, timeout=20)
        assert not left
    assert outcomes.total() == CALLERS * CALLS
    runs = regions[0].runs + regions[1].runs
    assert {name: times for name, times in runs.items() if name.startswith("act") and times > 1} == {}
