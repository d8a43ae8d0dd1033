"""The buckets of rate limits in the table: fills are those of the pure function, and garbage counts as empty."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import Address, digest
from mcp_transport.backends.dynamodb.rates import DynamoRateStore
from mcp_transport.domain.rate_limit import Charge, Limit, Rate
from tests.support.backends import HandClock
from tests.support.dynamodb.backend import boto3_of, build_client, make_table
from tests.support.dynamodb.server import DynamoServer
from tests.support.rates import MemoryRateStore

LIMIT = Limit("caller", Rate.parse("10/min burst 3"))
NUMBERS = itertools.count()


def charge(weight: float = 1.0, name: str = "x", limit: Limit = LIMIT) -> Charge:
    return limit.charge(name, weight, is_light=False)


def address(of: Charge) -> Address:
    return Address(f"rate#{digest(of.bucket)}", "#")


@pytest.fixture
def client(table: TableSettings, clock: HandClock) -> DynamoClient:
    return build_client(table, clock)


@pytest.fixture
def store(client: DynamoClient) -> DynamoRateStore:
    return DynamoRateStore(client)


async def settle(store: DynamoRateStore, *charges: Charge) -> Sequence[float]:
    return await store.settle(charges)


async def test_settled_costs_add_up_beyond_the_capacity(
    client: DynamoClient, store: DynamoRateStore, clock: HandClock
) -> None:
    many = [charge(2.0, str(number)) for number in range(50)]
    assert await settle(store, *many) == pytest.approx([12.0] * 50)
    assert await settle(store, charge(5.0, "0"), charge(0.5, "1")) == pytest.approx([42.0, 15.0])
    clock.advance(30)
    assert await settle(store, charge(0.0, "0"), charge(0.0, "none")) == pytest.approx([12.0, 0.0])
    clock.advance(13)
    assert await settle(store, charge(0.0, "0"), charge(1.0, "0")) == pytest.approx([0.0, 6.0])
    items = await client.get_each([address(charge(name=str(number))) for number in range(50)])
    assert len(items) == 50
    assert all(item["ttl"] >= item["empty_at"] / 1e6 for item in items.values())


async def test_requests_of_many_nodes_are_all_counted(table: TableSettings, clock: HandClock) -> None:
    stores = [DynamoRateStore(build_client(table, clock)) for _ in range(8)]
    fills = await asyncio.gather(*(settle(each, charge(), charge(0.5)) for each in stores for _ in range(3)))
    assert max(fill for pair in fills for fill in pair) == pytest.approx(24 * 9.0)
    assert await settle(stores[0], charge(0.0)) == pytest.approx([24 * 9.0])


async def test_what_costs_nothing_only_reads(client: DynamoClient, store: DynamoRateStore) -> None:
    await settle(store, charge())
    sent = list[str]()
    boto3_of(client).meta.events.register(
        "before-send.dynamodb.*", lambda request, **_: sent.append(request.headers["X-Amz-Target"].decode())
    )
    await settle(store, charge(0.0), charge(0.0, "none"))
    assert {target.partition(".")[2] for target in sent} == {"GetItem"}
    sent.clear()
    await settle(store, charge())
    assert len(sent) == 1, "a bucket that is in use takes one update"


@pytest.mark.parametrize(
    "attribute",
    [{"S": "x"}, {"N": "1e30"}, {"N": "-5"}, {"N": "1.5"}, {"M": {}}, {"BOOL": True}, {"NULL": True}, None],
    ids=str,
)
async def test_a_bucket_with_a_strange_value_counts_as_empty(
    attribute: Any, client: DynamoClient, store: DynamoRateStore
) -> None:
    item = address(charge()).attributes() | ({"empty_at": attribute} if attribute else {})
    await client.call("put_item", TableName=client.table, Item=item)
    assert await settle(store, charge(0.0)) == [0.0]
    assert await settle(store, charge()) == pytest.approx([6.0])
    assert await settle(store, charge()) == pytest.approx([12.0])


STEPS = st.lists(st.tuples(st.integers(0, 40_000), st.sampled_from([0, 1, 2, 20, 60])), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def shared(dynamo: DynamoServer) -> TableSettings:
    return make_table(dynamo)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rate=st.sampled_from(["10/min burst 3", "100/h burst 2", "7/s", "1/h"]), steps=STEPS)
def test_the_table_counts_as_memory_does(shared: TableSettings, rate: str, steps: list[tuple[int, int]]) -> None:
    """With each step some milliseconds pass, and a request of some twentieths arrives."""

    async def compare() -> None:
        clock, limit, name = HandClock(), Limit("caller", Rate.parse(rate)), f"{next(NUMBERS)}"
        store, memory = DynamoRateStore(build_client(shared, clock)), MemoryRateStore(clock)
        for pause, weight in steps:
            clock.advance(pause / 1000)
            each = charge(weight / 20, name, limit)
            if memory.empty_at.get(each.bucket, 0.0) - clock.now > 19 * limit.capacity:
                break
            assert await settle(store, each) == pytest.approx([memory.count(each)], abs=0.001)

    asyncio.run(compare())
