"""Faults that moto does not have reach the client, and each is survived, or raised as BackendError or Conflict."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import LISTING_INDEX, Address
from mcp_transport.backends.dynamodb.writes import ABSENT, Add, Conflict, Delete, Put
from mcp_transport.exceptions import BackendError
from tests.support.dynamodb import faults as kinds
from tests.support.dynamodb.backend import build_client
from tests.support.dynamodb.faults import Faults, delete_expired, without_pauses

ATTEMPTS = 4
PLACE = Address("p", "s")


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with without_pauses():
        yield


@pytest.fixture
def client(table: TableSettings) -> DynamoClient:
    return build_client(table)


@pytest.fixture
def faults(client: DynamoClient) -> Faults:
    return Faults(client)


def item(sk: str = "s", **more: Any) -> dict[str, Any]:
    return {"pk": "p", "sk": sk, "v": 1, **more}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (kinds.THROTTLED, "DynamoDB answers (ProvisionedThroughputExceededException|ThrottlingException)"),
        (kinds.BROKEN, "DynamoDB answers InternalServerError"),
        (kinds.REFUSED, "DynamoDB does not answer: Could not connect"),
        (kinds.LOST_REQUEST, "DynamoDB does not answer: Read timeout"),
    ],
)
async def test_a_passing_fault_is_survived_and_a_lasting_one_raised(
    kind: str, expected: str, client: DynamoClient, faults: Faults
) -> None:
    faults.next(kind, ATTEMPTS - 1)
    await client.write(Put(item(), ABSENT))
    assert await client.get(PLACE) == item()
    faults.next(kind, ATTEMPTS)
    with pytest.raises(BackendError, match=expected):
        await client.write(Put(item(v=2)))
    assert await client.get(PLACE) == item()
    assert faults.injected[kind] == 2 * ATTEMPTS - 1


async def test_a_write_whose_answer_is_lost_meets_itself(client: DynamoClient, faults: Faults) -> None:
    """botocore sends it again: a condition then fails because of the first time, which the item shows."""
    faults.next(kinds.LOST_ANSWER)
    with pytest.raises(Conflict) as refused:
        await client.write(Put(item(v=7), ABSENT))
    assert refused.value.current == item(v=7)


async def test_a_write_whose_answers_are_all_lost_is_raised_and_stored(client: DynamoClient, faults: Faults) -> None:
    faults.next(kinds.LOST_ANSWER, ATTEMPTS)
    with pytest.raises(BackendError, match="does not answer"):
        await client.write(Put(item()))
    assert await client.get(PLACE) == item()


async def test_a_transaction_whose_answer_is_lost_runs_once(client: DynamoClient, faults: Faults) -> None:
    """Its token says so to DynamoDB."""
    faults.next(kinds.LOST_ANSWER, ATTEMPTS - 1)
    await client.transact([Put(item(), ABSENT), Add(Address("p", "n"), "n", 1, limit=9)])
    assert await client.get(Address("p", "n")) == {"pk": "p", "sk": "n", "n": 1}


@pytest.mark.parametrize("write", [Put(item()), Delete(PLACE, 1), Add(PLACE, "n", 1)])
async def test_a_conflict_with_a_transaction_is_a_conflict(write: Any, client: DynamoClient, faults: Faults) -> None:
    await client.write(Put(item()))
    for work in (client.write(write), client.transact([write, Put(item("t"))])):
        faults.next(kinds.CONFLICT)
        with pytest.raises(Conflict) as refused:
            await work
        assert (refused.value.current, refused.value.positions) == (None, ())
    assert await client.get(PLACE) == item()


async def test_unprocessed_parts_of_batches_are_sent_again(client: DynamoClient, faults: Faults) -> None:
    items = [item(f"{number:02}") for number in range(30)]
    faults.next(kinds.UNPROCESSED, 3)
    await client.write_each(items, [PLACE])
    faults.next(kinds.UNPROCESSED, 2)
    each = await client.get_each([Address("p", one["sk"]) for one in items])
    assert list(each.values()) != [] and sorted(place.sk for place in each) == [one["sk"] for one in items]
    assert faults.injected[kinds.UNPROCESSED] == 5


async def test_a_batch_that_is_never_processed_is_raised(
    client: DynamoClient, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_transport.backends.dynamodb.client._UNPROCESSED_PAUSE_SECONDS", 0.0)
    places = [Address("p", f"{number:02}") for number in range(20)]
    for work in (client.write_each([item(place.sk) for place in places]), client.get_each(places)):
        faults.next(kinds.UNPROCESSED, len(places))
        with pytest.raises(BackendError, match="is throttled"):
            await work
        faults.stop()


async def test_only_queries_that_are_not_consistent_are_old(client: DynamoClient, faults: Faults) -> None:
    await client.write_each([item("a"), item("b", shard="0", created=1), item("c", shard="0", created=2)])
    await client.write(Put(item("a", v=2)))
    await client.write(Delete(Address("p", "b")))
    await client.write(Put(item("d", shard="0", created=3)))
    faults.next(kinds.OLD, 2)
    now = [item("a", v=2), item("c", shard="0", created=2), item("d", shard="0", created=3)]
    assert await client.query("p") == now
    before = [item("a"), item("b", shard="0", created=1), item("c", shard="0", created=2)]
    assert await client.query("p", consistent=False) == before
    listed = await client.query_index(LISTING_INDEX, "shard", "0")
    assert [one["sk"] for one in listed] == ["c", "b"]
    assert [one["sk"] for one in await client.query_index(LISTING_INDEX, "shard", "0")] == ["d", "c"]
    assert await client.query("p", consistent=False) == now


async def test_expired_items_stay_until_dynamodb_deletes_them(client: DynamoClient, table: TableSettings) -> None:
    await client.write_each([item("a", ttl=100), item("b", ttl=200), item("c")])
    assert len(await client.query("p")) == 3
    assert delete_expired(table, 150.0) == 1
    assert [one["sk"] for one in await client.query("p")] == ["b", "c"]


@pytest.mark.parametrize("seed", range(3))
async def test_a_counter_is_exact_through_faults_by_chance(seed: int, table: TableSettings) -> None:
    """Compare-and-set with a token of its own in `v`: what is lost or refused is seen, and nothing counts twice."""
    client, versions = build_client(table), random.Random(seed)  # noqa: S311
    shares = {kinds.THROTTLED: 0.1, kinds.BROKEN: 0.1, kinds.LOST_REQUEST: 0.1, kinds.LOST_ANSWER: 0.2}
    faults = Faults(client, seed, {**shares, kinds.CONFLICT: 0.2})
    for _ in range(20):
        await _count(client, versions)
    faults.stop()
    assert sum(faults.injected.values()) > 10
    stored = await client.get(PLACE)
    assert stored is not None and stored["n"] == 20


async def _count(client: DynamoClient, versions: random.Random) -> None:
    """Add 1 to a counter, whatever happens to the requests."""
    version, expected, value = versions.getrandbits(53), ABSENT, 0
    while True:
        try:
            stored = await client.get(PLACE)
            if stored is not None and stored["v"] == version:
                return
            if stored is not None:
                expected, value = stored["v"], stored["n"]
            await client.write(Put(item(v=version, n=value + 1), expected))
            return
        except (Conflict, BackendError):
            continue
