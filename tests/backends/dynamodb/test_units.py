"""The budget of the DynamoDB backend: read and write units of each operation, as its documentation has them."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.regions.backend import regions_backend
from mcp_transport.backends.results import Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from tests.support.backends import ANN, KEY, HandClock, ended, in_flight, session
from tests.support.dynamodb.backend import build, client_of
from tests.support.dynamodb.meter import Meter
from tests.support.dynamodb.server import DynamoServer
from tests.support.requirements import ROOT

STREAM = "71800074d18fa3bd"
RESULT = Event(
    1, b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"' + 500 * b"x" + b'"}]}}', True
)
PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}'

DOCUMENT = ROOT / "docs/howto/dynamodb.md"
# | operation | read units | write units | dollars for a million |
ROW = re.compile(r"^\| ([^|]+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
DOLLARS_PER_READ, DOLLARS_PER_WRITE = 0.125, 0.625
"""For a million units, on demand, in us-east-1."""


@cache
def documented() -> dict[str, tuple[float, float, float]]:
    """Return the documentation's table: what each operation costs."""
    rows = ROW.findall(DOCUMENT.read_text())
    assert len(rows) > 10
    return {operation: (float(reads), float(writes), float(dollars)) for operation, reads, writes, dollars in rows}


class Budget:
    """Measures operations of one process, and compares them with what the documentation says that they cost."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def row(self, operation: str, *work: Awaitable[Any]) -> Any:
        """Measure some work, which is a row of the table; return the result of the last."""
        result, reads, writes = None, 0.0, 0.0
        for step in work:
            result, units = await self._meter.of(step)
            reads, writes = reads + units.reads, writes + units.writes
        assert (reads, writes) == documented()[operation][:2], f"{operation} costs {reads} reads, {writes} writes"
        return result


def test_every_row_is_measured_and_priced() -> None:
    assert Path(__file__).read_text().count("await budget." + "row(") == len(documented())
    for operation, (reads, writes, dollars) in documented().items():
        assert dollars == pytest.approx(reads * DOLLARS_PER_READ + writes * DOLLARS_PER_WRITE, abs=0.0051), operation


@pytest.fixture
async def backend(table: TableSettings, clock: HandClock) -> Backend:
    """A process, and a session that is some calls old."""
    backend = build(table, Policy(), clock)
    await backend.sessions.open(_session(clock))
    await backend.sessions.update(KEY, initialized=True)
    for number in range(3):
        await backend.sessions.enter(KEY, ANN, "0123456789abcdef", [in_flight(f"old-{number}")])
        await backend.sessions.leave(KEY, ended(f"old-{number}"))
        clock.advance(5)
    return backend


@pytest.fixture
def budget(dynamo: DynamoServer, backend: Backend) -> Budget:
    return Budget(Meter(dynamo.url, client_of(backend)))


def _session(clock: HandClock, key: str = KEY) -> Any:
    """Return a session as a usual client opens it."""
    return replace(
        session(clock, key),
        client_info={
            "name": "claude-code",
            "title": "Claude Code",
            "version": "2.3.1",
            "websiteUrl": "https://claude.com",
        },
        capabilities={"elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}, "sampling": {}},
        ends=clock() + Policy().session_max_age,
        user_agent="claude-code/2.3.1 (cli)",
    )


async def test_initialize(backend: Backend, budget: Budget, clock: HandClock) -> None:
    key = session_key("another")
    opened = backend.sessions.open(_session(clock, key))
    await budget.row("`initialize`", opened)
    clock.advance(1)
    entered = backend.sessions.enter(key, ANN, "n1")
    update = backend.sessions.update(key, initialized=True)
    await budget.row("`notifications/initialized`", entered, update)


async def test_a_call(backend: Backend, budget: Budget) -> None:
    entered = backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    left = backend.sessions.leave(KEY, ended(1), stream=STREAM)
    await budget.row("`tools/call`, answered with JSON", entered, left)


async def test_a_call_with_events(backend: Backend, budget: Budget) -> None:
    entered = backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    log = backend.streams
    appended = log.append(KEY, STREAM, [RESULT], writer="n1", holder="n1", leaving=ended(1))
    await budget.row("`tools/call`, answered with an event", entered, appended)


async def test_an_event(backend: Backend, budget: Budget) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    await backend.streams.append(KEY, STREAM, [Event(1, PROGRESS)], writer="n1", holder="n1")
    work = backend.streams.append(KEY, STREAM, [Event(2, PROGRESS)], writer="n1", holder="n1")
    await budget.row("one more event of a running call", work)
    read = backend.streams.read(KEY, STREAM, 1)
    await budget.row("events read by a node that holds the stream", read)


async def test_a_get_stream(backend: Backend, budget: Budget, clock: HandClock) -> None:
    await budget.row("`GET` opened", backend.streams.attach(KEY, ANN, "g", None, "n1"))
    await budget.row("a message of a `GET` stream", backend.streams.emit(KEY, PROGRESS))
    await budget.row("its delivery recorded", backend.streams.checkpoint(KEY, "g", 1))
    clock.advance(25)
    await budget.row("a keep-alive of a stream", backend.sessions.touch(KEY, "g"))
    clock.advance(25)
    await budget.row("a keep-alive that extends the session", backend.sessions.touch(KEY, "g"))


async def test_a_cancellation(backend: Backend, budget: Budget) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    await budget.row("a cancellation", backend.sessions.cancel(KEY, ANN, 1))


async def test_a_session_is_closed(backend: Backend, budget: Budget) -> None:
    await budget.row("`DELETE`", backend.sessions.close(KEY, ANN))


async def test_a_take_over(backend: Backend, budget: Budget) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    claimed = await budget.row("a stream claimed from a dead node", backend.streams.claim(KEY, STREAM, "n1", "n1"))
    assert claimed is not None
    lost = Event(claimed.next, RESULT.payload, terminal=True)
    work = backend.streams.append(KEY, STREAM, [lost], writer="n1", leaving=ended(1, ending=Ending.LOST))
    await budget.row("the end of its call", work)


async def test_a_call_in_a_global_table_costs_half_a_read_unit_more_for_each_lease(
    dynamo: DynamoServer, table: TableSettings, clock: HandClock
) -> None:
    """A claim of another region would be in the table; it is read with the first call of each lease."""
    regions, policy = ("eu-west-1", "us-east-1"), Policy(region="eu-west-1")
    tables = {region: replace(table, namespace=region, is_remote=region != policy.region) for region in regions}
    time = HandClock()
    backend = regions_backend(policy, tables, 30.0, now=clock, monotonic=time)
    await backend.sessions.open(_session(clock))
    await backend.sessions.update(KEY, initialized=True)
    sessions: Any = backend.sessions
    meter = Meter(dynamo.url, client_of(sessions.router.own.backend))
    reads, writes, _ = documented()["`tools/call`, answered with JSON"]
    for verification in (0.0, 0.5, 0.0):
        _, entered = await meter.of(backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)]))
        _, left = await meter.of(backend.sessions.leave(KEY, ended(1), stream=STREAM))
        assert (entered.reads + left.reads, entered.writes + left.writes) == (reads + verification, writes)
        time.advance(0.0 if verification else policy.lease)


async def test_an_idle_node(backend: Backend, dynamo: DynamoServer) -> None:
    """One heartbeat in three of the lease, and what follows it."""
    await backend.bus.start("0123456789abcdef", lambda message: None)
    bus: Any = backend.bus
    [member] = bus._members.values()
    for task in (member._inbox_task, member._check_task):
        await task.stop()
    await bus._client.flush()
    budget = Budget(Meter(dynamo.url, bus._client))
    await budget.row("a heartbeat of a node", member._heartbeat(), member._check_nodes())
    await backend.bus.stop("0123456789abcdef")
