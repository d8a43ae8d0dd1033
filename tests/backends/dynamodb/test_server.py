"""The server that stands for DynamoDB in tests: what must be right for other tests to mean anything."""

from __future__ import annotations

import asyncio
import time

import pytest

from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.items import Address
from mcp_transport.backends.dynamodb.store_clock import MAX_CLOCK_ERROR
from mcp_transport.backends.dynamodb.writes import Add, Conflict, Put
from tests.support.dynamodb.backend import build_client

NEW = Address("new", "#")


async def test_failing_transactions_lose_no_other_write(table: TableSettings) -> None:
    client = build_client(table)
    await client.write(Put({"pk": "taken", "sk": "#", "v": 1}))

    async def fail(number: int) -> None:
        with pytest.raises(Conflict):
            await client.transact(
                [Put({"pk": "taken", "sk": "#", "v": 2}, 7), Put({"pk": "lost", "sk": str(number)})]
            )

    async def write(number: int) -> None:
        await client.write(Put({"pk": "kept", "sk": f"{number:02}", "v": 1}))

    await asyncio.gather(*(step(number) for number in range(40) for step in (fail, write)))
    assert len(await client.query("kept")) == 40
    assert not await client.query("lost")


async def test_a_failing_transaction_takes_back_an_update(table: TableSettings) -> None:
    client, counter = build_client(table), Address("counter", "#")
    await client.write(Add(counter, "n", 5, 9))
    with pytest.raises(Conflict) as refused:
        await client.transact(
            [Add(counter, "n", 1), Add(Address("new", "#"), "n", 1, 9), Put({"pk": "p", "sk": "#"}, 7)]
        )
    assert refused.value.positions == (2,)
    assert await client.get(counter) == {"pk": "counter", "sk": "#", "n": 5}
    assert await client.get(NEW) is None
    await client.transact([Add(counter, "n", 1)])
    assert await client.get(counter) == {"pk": "counter", "sk": "#", "n": 6}


async def test_the_servers_clock_is_that_of_the_machine(table: TableSettings) -> None:
    client = build_client(table)
    await client.get(Address("a", "b"))
    assert abs(client.now() - time.time()) < MAX_CLOCK_ERROR + 1
