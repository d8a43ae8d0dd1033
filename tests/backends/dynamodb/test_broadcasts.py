"""The numbers of broadcasts, and how many are stored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.backends.dynamodb import broadcasts
from mcp_transport.backends.dynamodb.broadcasts import BroadcastLog, next_number
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.domain.node_messages import Broadcast
from tests.support.backends import HandClock
from tests.support.dynamodb.backend import build_client

KEEP = 50.0


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        ("", 1_800_000_000.1234, "001800000000123-00000"),
        ("001800000000122-00007", 1_800_000_000.1234, "001800000000123-00000"),
        ("001800000000123-00007", 1_800_000_000.1234, "001800000000123-00008"),
        ("001800000000999-00000", 1_800_000_000.1234, "001800000000999-00001"),
        ("001800000000123-99999", 1_800_000_000.1234, "001800000000123-100000"),
    ],
    ids=["first", "later", "same time", "clock went back", "many"],
)
def test_a_number_is_the_time_unless_that_is_not_above_the_last_one(last: str, now: float, expected: str) -> None:
    assert next_number(last, now) == expected


@pytest.fixture
def log(table: TableSettings, clock: HandClock) -> BroadcastLog:
    return BroadcastLog(build_client(table, clock), KEEP)


def message(number: int) -> Broadcast:
    return Broadcast("m", f"test://{number}")


async def test_broadcasts_at_one_time_have_numbers_of_their_own(
    table: TableSettings, clock: HandClock, log: BroadcastLog
) -> None:
    others = [BroadcastLog(build_client(table, clock), KEEP) for _ in range(7)]
    numbers = await asyncio.gather(*(each.add(message(at)) for at, each in enumerate([log, *others] * 2)))
    assert sorted(numbers) == [f"001000000000-{count:05}".rjust(21, "0") for count in range(16)]
    assert [each.number for each in await log.after("")] == sorted(numbers)
    assert await others[0].last() == max(numbers)


async def test_broadcasts_are_stored_for_a_while(clock: HandClock, log: BroadcastLog) -> None:
    first = await log.add(message(1))
    clock.advance(30)
    await log.add(message(2))
    assert [each.uri for each in await log.after("")] == ["test://1", "test://2"]
    clock.advance(30)
    assert [each.uri for each in await log.after("")] == ["test://2"]
    assert [each.uri for each in await log.after(first)] == ["test://2"]
    clock.advance(-1000)
    third, fourth = await log.add(message(3)), await log.add(message(4))
    assert [each.number for each in await log.after(first)][-2:] == [third, fourth]


async def test_no_more_broadcasts_are_stored_than_the_limit(
    table: TableSettings, clock: HandClock, log: BroadcastLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcasts, "MAX_BROADCASTS", 10)
    monkeypatch.setattr(broadcasts, "_TRIM_AFTER", 4)
    client = build_client(table, clock)
    for number in range(5):
        await log.add(message(number))
    clock.advance(KEEP + 1)
    for number in range(5, 27):
        await log.add(message(number))
    assert [each.uri for each in await log.after("")] == [f"test://{number}" for number in range(17, 27)]
    assert len(await client.query("broadcasts")) <= 1 + 10 + 4


COUNTERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "another type": {"v": {"M": {}}},
    "no number": {"v": {"N": "1"}, "count": {"N": "1"}, "last": {"S": "x"}},
    "after the year 2286": {"v": {"N": "1"}, "count": {"N": "1"}, "last": {"S": "900000000000000-00000"}},
}


@pytest.mark.parametrize("counter", COUNTERS.values(), ids=COUNTERS)
async def test_garbage_is_left_out_and_the_numbers_go_on(
    counter: dict[str, Any], table: TableSettings, clock: HandClock, log: BroadcastLog
) -> None:
    client, before = build_client(table, clock), await log.add(message(1))
    for sort_key, attributes in {
        "#": counter,
        "900000000000000-00000": {"method": {"S": "m"}, "uri": {"S": "future"}},
        f"{before}0": {"method": {"M": {}}},
        f"{before}1": {"method": {"S": "m"}},
        "5": {"method": {"S": "m"}, "uri": {"S": "x"}},
    }.items():
        item = {"pk": {"S": "broadcasts"}, "sk": {"S": sort_key}, **attributes}
        await client.call("put_item", TableName=table.table, Item=item)
    assert await log.last() >= before
    after = await log.add(message(2))
    assert after > before
    assert [each.uri for each in await log.after("")] == ["test://1", "test://2"]
    assert await log.last() == after
