"""Leases: what a process observes of them, and items that no release has written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import Address
from mcp_transport.backends.dynamodb.leases import Lease, Observation, Observations, lease_item, read_leases
from mcp_transport.backends.dynamodb.node_bus import DynamoNodeBus
from mcp_transport.backends.dynamodb.writes import Put
from mcp_transport.domain.node_messages import LeaseLapsed, NodeLost, Orphaned
from mcp_transport.exceptions import BackendError
from tests.backends.contract_nodes import QUICK, Process, eventually
from tests.support.backends import KEY, STREAM
from tests.support.dynamodb.backend import boto3_of, build_client


def test_an_unchanged_beat_was_observed_since_it_was_first_read() -> None:
    observations = Observations()
    assert observations.add("a", 1, 10.0) == Observation(1, 10.0, False)
    observations.retain({"a"})
    assert observations.add("a", 1, 13.0) == Observation(1, 10.0, False)
    assert observations.add("a", 2, 16.0) == Observation(2, 16.0, True), "renewed"
    assert observations.add("new", 3, 16.0).was_alive
    observations.retain({"new"})
    assert observations.add("a", 2, 20.0).since == 20.0, "forgotten in between"


@pytest.fixture
async def process(table: TableSettings) -> AsyncIterator[Process]:
    process = Process(DynamoNodeBus(build_client(table), QUICK, {}))
    await process.start("a")
    yield process
    await process.leave()


@pytest.fixture
def client(process: Process) -> DynamoClient:
    bus: Any = process.bus
    client: DynamoClient = bus._client
    return client


GARBAGE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no number": {"v": {"S": "x"}},
    "no integer": {"v": {"N": "1.5"}, "lease": {"N": "1500"}},
    "boolean": {name: {"BOOL": True} for name in ("v", "lease", "renewed", "swept", "full")},
    "negative": {"v": {"N": "-1"}, "lease": {"N": "1500"}, "renewed": {"N": "0"}},
    "endless lease": {"v": {"N": "1"}, "lease": {"N": "9" * 30}, "renewed": {"N": "0"}},
    "another type": {"v": {"M": {"x": {"SS": ["y"]}}}},
}


async def put(client: DynamoClient, address: Address, attributes: dict[str, Any]) -> None:
    item = {**address.attributes(), **attributes}
    await client.call("put_item", TableName=client.table, Item=item)


async def test_leases_that_cannot_be_read_are_swept_like_those_of_dead_nodes(
    process: Process, client: DynamoClient
) -> None:
    for name, attributes in GARBAGE.items():
        await put(client, Address("nodes", name), attributes)
    await put(client, Address("journal#nothing", f"{KEY} {STREAM}"), {"x": {"M": {}}})
    await put(client, Address("descriptions", "garbage"), {"body": {"S": "x"}})
    leases = await read_leases(client, QUICK.lease, consistent=True)
    assert all(leases[name].expected is None and leases[name].seconds == QUICK.lease for name in GARBAGE)
    assert [node.name for node in await process.bus.nodes()] == ["a"]
    for name in GARBAGE:
        await process.receives("a", NodeLost(name))
    await process.receives("a", Orphaned(KEY, STREAM, "nothing"))

    async def are_forgotten() -> bool:
        return set(await process.bus._node_names()) == {"a"}

    await eventually(are_forgotten)
    assert process.bus.failure("a") is None
    assert LeaseLapsed() not in process.received["a"]


@pytest.mark.parametrize("attributes", GARBAGE.values(), ids=GARBAGE)
async def test_a_node_repairs_its_own_lease(
    attributes: dict[str, Any], process: Process, client: DynamoClient
) -> None:
    await put(client, Address("nodes", "a"), attributes)

    async def is_repaired() -> bool:
        return (await read_leases(client, 7.0, consistent=True))["a"].seconds == QUICK.lease

    await eventually(is_repaired)
    assert process.bus.failure("a") is None
    assert [node.name for node in await process.bus.nodes()] == ["a"]


async def test_a_node_whose_lease_was_deleted_takes_it_for_lapsed(process: Process, client: DynamoClient) -> None:
    await client.write_each(deletes=[Address("nodes", "a"), Address("descriptions", "a")])
    await process.receives("a", LeaseLapsed())

    async def is_back() -> bool:
        return [node.name for node in await process.bus.nodes()] == ["a"]

    await eventually(is_back)


async def test_nodes_whose_lease_has_passed_are_not_listed(process: Process, client: DynamoClient) -> None:
    now = client.now()
    for name, age in (("recent", 1.0), ("past", 60.0)):
        await client.write(Put(lease_item(name, Lease(1, 2.0, now - age), now)))
        await client.write(Put({**Address("descriptions", name)._asdict(), "body": b'{"host": "h", "pid": 1}'}))
    assert {node.name for node in await process.bus.nodes()} <= {"a"}, "without what a description must have"
    body = b'{"host": "h", "pid": 1, "calls": 0, "draining": false}'
    for name in ("recent", "past"):
        await client.write(Put({**Address("descriptions", name)._asdict(), "body": body}))
    ages = {node.name: node.age for node in await process.bus.nodes()}
    assert set(ages) == {"a", "recent"}
    assert 1.0 <= ages["recent"] < 60.0


async def test_a_heartbeat_costs_at_most_two_writes_and_two_reads(process: Process, client: DynamoClient) -> None:
    sent = list[str]()
    boto3_of(client).meta.events.register(
        "before-send.dynamodb.*", lambda request, **_: sent.append(request.headers["X-Amz-Target"].decode())
    )
    member = process.member("a")
    await process.pause("a")
    sent.clear()
    await member._heartbeat()
    await member._check_nodes()
    await member.store.read_inbox(0.0, lambda raw: None)
    kinds = sorted(target.partition(".")[2] for target in sent)
    assert kinds in (["PutItem", "PutItem", "Query", "Query"], ["PutItem", "Query", "Query"])
    process.resume("a")


async def test_a_table_that_does_not_exist_is_reported(table: TableSettings) -> None:
    missing = TableSettings(table="missing", region=table.region, endpoint_url=table.endpoint_url)
    process = Process(DynamoNodeBus(build_client(missing), QUICK, {}))
    with pytest.raises(BackendError, match="does not exist"):
        await process.start("a")
    with pytest.raises(BackendError):
        await process.bus.send("b", LeaseLapsed())
    assert process.bus._members == {}
