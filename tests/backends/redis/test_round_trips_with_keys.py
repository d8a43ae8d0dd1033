"""How many round trips a call with an idempotency key, and its repetition, wait for, and how many follow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.backends.redis.meter import Meter
from tests.backends.redis.metered import Table, client, clock, meter, nodes, table, there
from tests.support.client import SessionClient
from tests.support.keyed import Keyed
from tests.support.tools import Gate

__all__ = ["client", "clock", "meter", "nodes", "table", "there"]

pytestmark = pytest.mark.servers


@pytest.fixture
def keyed(client: SessionClient) -> Keyed:
    return Keyed(client)


async def test_a_call_with_a_key_that_is_answered_with_json(
    keyed: Keyed, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    answer, cost = await meter.of(keyed.call("add", {"a": 1, "b": 2}))
    assert answer.stream is None
    assert (cost.blocking, cost.behind) == ([("ENTER",)], [("APPEND",)])
    table.row("tools/call with a key, answered with JSON", cost, 1, 1)
    again, cost = await meter.of(keyed.call("add", {"a": 1, "b": 2}, **there))
    assert again.body == answer.body
    assert cost.blocking == [("ENTER",), ("READ",)]
    table.row("its repetition on another node", cost, 2, 0)
    _, cost = await meter.of(keyed.call("add", {"a": 1, "b": 2}, id=8, **there))
    table.row("another request with its key", cost, 1, 0)


async def test_a_call_with_a_key_that_is_answered_with_events(
    keyed: Keyed, gate: Gate, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    gate.open.set()
    answer, cost = await meter.of(keyed.call("count", {"steps": 0}))
    messages = await answer.messages()
    table.row("tools/call with a key, answered with 1 event and the result", cost, 1, len(cost.behind))
    assert 1 <= len(cost.behind) <= 2, cost
    again, cost = await meter.of(keyed.call("count", {"steps": 0}, **there))
    assert await again.messages() == messages
    assert cost.blocking == [("ENTER",), ("READ",)]
    table.row("its repetition on another node, of all events", cost, 2, 0)


async def test_a_repetition_of_a_running_call_with_a_key(
    keyed: Keyed, gate: Gate, meter: Meter, table: Table, there: dict[str, Any]
) -> None:
    first = asyncio.ensure_future(keyed.call("blocked"))
    await gate.wait(gate.entered)
    await meter.quiet()
    _, cost = await meter.of(keyed.call("blocked", **there))
    assert cost.blocking == [("ENTER",), ("ATTACH", "SEND")]
    # Its node is asked for a log, and whether it lives.
    table.row("repetition of a running call with a key", cost, 2, len(cost.behind))
    assert len(cost.behind) <= 6, cost
    gate.open.set()
    await first
