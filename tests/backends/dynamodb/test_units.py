"""The budget of the DynamoDB backend: read and write units of each operation, from which the cost in docs follows.

Run with `-s` to see the table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.results import Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from tests.support.backends import ANN, KEY, HandClock, ended, in_flight, session
from tests.support.dynamodb.backend import build, client_of
from tests.support.dynamodb.meter import Meter
from tests.support.dynamodb.server import DynamoServer

STREAM = "71800074d18fa3bd"
RESULT = Event(
    1, b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"' + 500 * b"x" + b'"}]}}', True
)
PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}'

Rows = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> Iterator[Rows]:
    rows = Rows()
    yield rows
    print("\n" + "\n".join(f"{operation:50} {units}" for operation, units in rows.items()))


class Budget:
    """Measures operations of one process, and compares them with what they may cost."""

    def __init__(self, meter: Meter, rows: Rows) -> None:
        self._meter, self._rows = meter, rows

    async def row(self, operation: str, *work: Awaitable[Any], reads: float, writes: float) -> Any:
        """Record the units of some work in a row; return the result of the last."""
        result, total = None, (0.0, 0.0)
        for step in work:
            result, units = await self._meter.of(step)
            total = total[0] + units.reads, total[1] + units.writes
        self._rows[operation] = f"{total[0]:5.1f} RRU {total[1]:5.1f} WRU"
        assert total == (reads, writes), operation
        return result


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
def budget(dynamo: DynamoServer, backend: Backend, rows: Rows) -> Budget:
    return Budget(Meter(dynamo.url, client_of(backend)), rows)


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
    await budget.row("initialize", opened, reads=0, writes=8)
    clock.advance(1)
    entered = backend.sessions.enter(key, ANN, "n1")
    update = backend.sessions.update(key, initialized=True)
    await budget.row("notifications/initialized", entered, update, reads=1, writes=2)


async def test_a_call(backend: Backend, budget: Budget) -> None:
    entered = backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    left = backend.sessions.leave(KEY, ended(1), stream=STREAM)
    await budget.row("tools/call, answered with JSON", entered, left, reads=1, writes=3)


async def test_a_call_with_events(backend: Backend, budget: Budget) -> None:
    entered = backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    log = backend.streams
    appended = log.append(KEY, STREAM, [RESULT], writer="n1", holder="n1", leaving=ended(1))
    await budget.row("tools/call, answered with an event", entered, appended, reads=3, writes=5)


async def test_an_event(backend: Backend, budget: Budget) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    await backend.streams.append(KEY, STREAM, [Event(1, PROGRESS)], writer="n1", holder="n1")
    work = backend.streams.append(KEY, STREAM, [Event(2, PROGRESS)], writer="n1", holder="n1")
    await budget.row("an event of a running call", work, reads=1, writes=2)
    read = backend.streams.read(KEY, STREAM, 1)
    await budget.row("events read by a node that holds the stream", read, reads=3, writes=0)


async def test_a_get_stream(backend: Backend, budget: Budget, clock: HandClock) -> None:
    await budget.row("GET opened", backend.streams.attach(KEY, ANN, "g", None, "n1"), reads=1, writes=3)
    await budget.row("a message of a GET stream", backend.streams.emit(KEY, PROGRESS), reads=1, writes=4)
    await budget.row("GET delivery marked", backend.streams.checkpoint(KEY, "g", 1), reads=0, writes=1)
    clock.advance(25)
    await budget.row("keep-alive of a stream", backend.sessions.touch(KEY, "g"), reads=1, writes=0)
    clock.advance(25)
    await budget.row("keep-alive that extends the session", backend.sessions.touch(KEY, "g"), reads=0, writes=1)


async def test_a_cancellation(backend: Backend, budget: Budget) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    await budget.row("a cancellation", backend.sessions.cancel(KEY, ANN, 1), reads=1, writes=0)


async def test_a_session_is_closed(backend: Backend, budget: Budget) -> None:
    await budget.row("DELETE", backend.sessions.close(KEY, ANN), reads=1, writes=9)


async def test_a_take_over(backend: Backend, budget: Budget) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=STREAM)])
    claimed = await budget.row(
        "a stream is claimed", backend.streams.claim(KEY, STREAM, "n1", "n1"), reads=2, writes=3
    )
    assert claimed is not None
    lost = Event(claimed.next, RESULT.payload, terminal=True)
    work = backend.streams.append(KEY, STREAM, [lost], writer="n1", leaving=ended(1, ending=Ending.LOST))
    await budget.row("its call is ended", work, reads=1, writes=4)
