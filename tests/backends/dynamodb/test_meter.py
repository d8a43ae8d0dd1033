"""The meter of units, by the examples of the Developer Guide, and by each operation of the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import LISTING_INDEX, Address
from mcp_transport.backends.dynamodb.writes import Add, Conflict, Delete, Put
from tests.support.dynamodb.backend import build_client
from tests.support.dynamodb.meter import Meter
from tests.support.dynamodb.units import Units, item_size, read_units, refused_units, write_units

KB = 1024
ADDRESS = Address("p", "s")
LISTED: dict[str, Any] = {"shard": "0", "created": 5}


def sized(size: int, **more: Any) -> dict[str, Any]:
    """Return attributes of an item of so many bytes."""
    return {"pk": {"S": "p"}, **more, "x": {"B": b"." * (size - item_size({"pk": {"S": "p"}, **more}) - 1)}}


def item(size: int = 100, sk: str = "s", **more: Any) -> dict[str, Any]:
    """Return an item of about so many bytes."""
    return {"pk": "p", "sk": sk, "x": b"." * (size - 20), **more}


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"a": {"S": "d\xe9f"}}, 1 + 4),
        ({"ab": {"N": "0"}}, 2 + 1),
        ({"a": {"N": "27"}}, 1 + 1 + 1),
        ({"a": {"N": "-27.500"}}, 1 + 2 + 1),
        ({"a": {"N": "1700000000"}}, 1 + 1 + 1),
        ({"a": {"B": b"12345"}}, 1 + 5),
        ({"a": {"BOOL": True}, "b": {"NULL": True}}, 2 + 2),
        ({"a": {"L": []}}, 1 + 3),
        ({"a": {"L": [{"S": "ab"}, {"L": []}]}}, 1 + 3 + (1 + 2) + (1 + 3)),
        ({"a": {"M": {"bc": {"S": "d"}}}}, 1 + 3 + (2 + 1 + 1)),
    ],
)
def test_an_items_size_is_that_of_its_names_and_values(attributes: dict[str, Any], size: int) -> None:
    assert item_size(attributes) == size


@pytest.mark.parametrize(
    ("size", "consistent", "units"),
    [(3500, True, 1), (3500, False, 0.5), (10 * KB, True, 3), (8 * KB, False, 1), (0, True, 1), (0, False, 0.5)],
)
def test_reads_are_counted_by_4_kb(size: int, consistent: bool, units: float) -> None:
    assert read_units(size, consistent=consistent) == units


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        (None, sized(500), 1),
        (None, sized(3584), 4),
        (sized(2 * KB), sized(500), 2),
        (sized(KB), sized(KB + 1), 2),
        (sized(3 * KB), None, 3),
        (None, None, 1),
        # The index: a new entry, the same one, another key, an entry that goes.
        (None, sized(500, shard={"S": "0"}, created={"N": "5"}, sk={"S": "s"}), 1 + 1),
        (*[sized(500, shard={"S": "0"}, created={"N": "5"}, sk={"S": "s"})] * 2, 1),
        (
            sized(500, shard={"S": "0"}, created={"N": "5"}, sk={"S": "s"}),
            sized(500, shard={"S": "0"}, created={"N": "6"}, sk={"S": "s"}),
            1 + 2,
        ),
        (sized(500, shard={"S": "0"}, created={"N": "5"}, sk={"S": "s"}), sized(500, sk={"S": "s"}), 1 + 1),
        (None, sized(500, shard={"S": "0"}, sk={"S": "s"}), 1),
    ],
)
def test_writes_are_counted_by_the_larger_item(before: Any, after: Any, units: float) -> None:
    assert write_units(before, after) == units


def test_a_refused_write_costs_what_exists() -> None:
    assert [refused_units(None), refused_units(sized(1500))] == [1, 2]


Work = Callable[[DynamoClient], Awaitable[Any]]


@pytest.mark.parametrize(
    ("stored", "work", "reads", "writes"),
    [
        ([item(5000)], lambda client: client.get(ADDRESS), 2, 0),
        ([], lambda client: client.get(ADDRESS), 1, 0),
        ([], lambda client: client.write(Put(item(1500))), 0, 2),
        ([item(3000)], lambda client: client.write(Put(item(100))), 0, 3),
        ([], lambda client: client.write(Put(item(100, **LISTED))), 0, 2),
        ([item(3000, n=1)], lambda client: client.write(Add(ADDRESS, "n", 1)), 0, 3),
        ([item(3000, **LISTED)], lambda client: client.write(Delete(ADDRESS)), 0, 4),
        ([], lambda client: client.transact([Put(item(100)), Put(item(1500, sk="t"))]), 0, 2 * (1 + 2)),
        # Two items of 1.5 and 6.5 KB, and one that does not exist: 4 + 8 + 4.
        (
            [item(1536), item(6656, sk="t")],
            lambda client: client.get_each([ADDRESS, Address("p", "t"), Address("p", "u")]),
            4,
            0,
        ),
        ([item(3000)], lambda client: client.write_each([item(500, sk="t"), item(3584, sk="u")], [ADDRESS]), 0, 8),
        # Query: the sum of the items is rounded, not each item, and names that are left out count.
        ([item(1500, sk=sk) for sk in "stu"], lambda client: client.query("p"), 2, 0),
        ([item(1500, sk=sk) for sk in "stu"], lambda client: client.query("p", names=["sk"], consistent=False), 1, 0),
        ([], lambda client: client.query("p"), 1, 0),
        (
            [item(3000, **LISTED)],
            lambda client: client.query_index(LISTING_INDEX, "shard", "0"),
            0.5,
            0,
        ),
    ],
)
async def test_each_operation_is_counted(
    stored: list[dict[str, Any]], work: Work, reads: float, writes: float, table: TableSettings
) -> None:
    client = build_client(table)
    await client.write_each(stored)
    meter = Meter(str(table.endpoint_url), client)
    _, units = await meter.of(work(client))
    assert (units.reads, units.writes) == (reads, writes)
    assert len(units.operations) == 1
    assert meter.take() == Units()


async def test_refused_writes_are_counted(table: TableSettings) -> None:
    client = build_client(table)
    await client.write(Put(item(2500)))
    meter = Meter(str(table.endpoint_url), client)
    with pytest.raises(Conflict):
        await client.write(Put(item(100), 7))
    assert meter.take() == Units(0, 3, ("PutItem",))
    with pytest.raises(Conflict):
        await client.transact([Put(item(100), 7), Put(item(100, sk="t"))])
    assert meter.take() == Units(0, 2 * (3 + 1), ("TransactWriteItems",))
