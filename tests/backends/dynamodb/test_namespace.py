"""The namespace is in all keys of each operation that the backend sends, and in none of the items that it gets."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import Address, Item
from mcp_transport.backends.dynamodb.namespace import (
    in_namespace,
    item_without_namespace,
    qualified,
    without_namespace,
)
from mcp_transport.backends.dynamodb.writes import Add, Conflict, Delete, Put
from tests.support.dynamodb.backend import admin, build_client
from tests.support.dynamodb.server import DynamoServer

ITEM: Item = {"pk": "p", "sk": "s", "v": 1, "shard": "sessions#1", "created": 5}
PLAIN = {"pk": {"S": "p"}, "sk": {"S": "s"}, "b": {"B": b"|"}}
PREFIXED = {**PLAIN, "pk": {"S": "r|p"}}

PARAMETERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"Key": PLAIN, "TableName": "t"}, {"Key": PREFIXED, "TableName": "t"}),
    ({"Item": {**PLAIN, "shard": {"S": "x"}}}, {"Item": {**PREFIXED, "shard": {"S": "r|x"}}}),
    ({"TransactItems": [{"Put": {"Item": PLAIN}}]}, {"TransactItems": [{"Put": {"Item": PREFIXED}}]}),
    ({"RequestItems": {"t": {"Keys": [PLAIN]}}}, {"RequestItems": {"t": {"Keys": [PREFIXED]}}}),
    (
        {"RequestItems": {"t": [{"PutRequest": {"Item": PLAIN}}, {"DeleteRequest": {"Key": PLAIN}}]}},
        {"RequestItems": {"t": [{"PutRequest": {"Item": PREFIXED}}, {"DeleteRequest": {"Key": PREFIXED}}]}},
    ),
    (
        {"ExpressionAttributeValues": {":pk": {"S": "p"}, ":low": {"S": "a"}}},
        {"ExpressionAttributeValues": {":pk": {"S": "r|p"}, ":low": {"S": "a"}}},
    ),
]
REPLIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"Items": [PREFIXED], "LastEvaluatedKey": PREFIXED}, {"Items": [PLAIN], "LastEvaluatedKey": PREFIXED}),
    ({"Attributes": PREFIXED}, {"Attributes": PLAIN}),
    ({"Responses": {"t": [PREFIXED]}}, {"Responses": {"t": [PLAIN]}}),
    ({"UnprocessedKeys": {"t": {"Keys": [PREFIXED]}}}, {"UnprocessedKeys": {"t": {"Keys": [PLAIN]}}}),
]


@pytest.mark.parametrize(("plain", "prefixed"), PARAMETERS)
def test_parameters_get_it(plain: dict[str, Any], prefixed: dict[str, Any]) -> None:
    assert in_namespace(plain, "r") == prefixed


@pytest.mark.parametrize(("prefixed", "plain"), REPLIES)
def test_replies_lose_it(prefixed: dict[str, Any], plain: dict[str, Any]) -> None:
    assert without_namespace(prefixed, "r") == plain


def test_items_of_another_type_are_left_alone() -> None:
    garbage = {"pk": {"N": "1"}, "sk": {"S": "s"}}
    assert without_namespace({"Item": garbage}, "r") == {"Item": garbage}
    assert item_without_namespace({"pk": 1, "shard": "r|x"}, "r") == {"pk": 1, "shard": "x"}
    assert qualified("p", "") == "p"


@pytest.fixture
def clients(table: TableSettings) -> list[DynamoClient]:
    client = build_client(table)
    return [client.in_namespace("a"), client.in_namespace("b")]


async def test_namespaces_of_one_table_are_apart(clients: list[DynamoClient], dynamo: DynamoServer) -> None:
    one, other = clients
    address = Address("p", "s")
    await one.write(Put(ITEM))
    assert await one.get(address) == ITEM
    assert await one.get_each([address]) == {address: ITEM}
    assert await one.query("p") == [ITEM]
    assert [item["pk"] for item in await one.query_index("sessions", "shard", "sessions#1")] == ["p"]
    assert await other.get(address) is None
    assert await other.query("p") == await other.query_index("sessions", "shard", "sessions#1") == []
    with pytest.raises(Conflict) as refused:
        await one.write(Put(ITEM, 7))
    assert refused.value.current == ITEM
    await other.transact([Put(ITEM), Add(Address("p", "n"), "v", 1, 5)])
    await one.write_each([{**ITEM, "sk": "t"}])
    assert await one.write(Delete(address), former=True) == ITEM
    stored = admin(dynamo.url).scan(TableName=one.table)["Items"]
    assert {(item["pk"]["S"], item["sk"]["S"]) for item in stored} == {("a|p", "t"), ("b|p", "s"), ("b|p", "n")}
