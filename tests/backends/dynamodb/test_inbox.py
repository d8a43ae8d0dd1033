"""Messages between nodes through the table: garbage, limits, and the order in which they were written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport.backends.dynamodb import inbox
from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import Address
from mcp_transport.backends.dynamodb.node_bus import DynamoNodeBus
from mcp_transport.domain.node_messages import Closed, Doubted, ReplyArrived, Superseded
from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import BackendError
from tests.backends.contract_nodes import QUICK, Process, eventually
from tests.support.backends import KEY, STREAM
from tests.support.dynamodb.backend import build_client

LONG = ReplyArrived("long", {"text": "x" * 600_000}, None)


# A node that a test pauses is not declared dead meanwhile.
PATIENT = Policy(lease=600.0)


def build_process(table: TableSettings, policy: Policy = PATIENT) -> Process:
    return Process(DynamoNodeBus(build_client(table), policy, {}))


@pytest.fixture
async def sender(table: TableSettings) -> AsyncIterator[Process]:
    process = build_process(table)
    await process.start("a")
    yield process
    await process.leave()


@pytest.fixture
async def receiver(table: TableSettings, sender: Process) -> AsyncIterator[Process]:
    """A process whose node `b` polls often."""
    process = build_process(table)
    process.expecting.add("b")
    await process.start("b")
    yield process
    await process.leave()


def client_of(process: Process) -> DynamoClient:
    bus: Any = process.bus
    client: DynamoClient = bus._client
    return client


async def is_empty(process: Process) -> bool:
    stored = [await client_of(process).query(pk, names=("sk",)) for pk in inbox.partitions("b")]
    return stored == [[], []]


async def test_items_that_cannot_be_read_do_not_hold_up_the_inbox(sender: Process, receiver: Process) -> None:
    """They fill more than a page of it, and sort before all messages."""
    garbage: list[dict[str, Any]] = [
        {"body": {"M": {}}},
        {"body": {"S": "x"}},
        {"parts": {"N": "9" * 30}},
        {"parts": {"N": "-1"}},
        {"parts": {"N": "3"}},  # and there are none
        {"parts": {"S": "x"}},
        {},
    ]
    client = client_of(sender)
    for number in range(150):
        item = {"pk": {"S": "inbox#b"}, "sk": {"S": f"! {number:03}"}, **garbage[number % len(garbage)]}
        await client.call("put_item", TableName=client.table, Item=item)
    assert await receiver.hears("b", sender)
    await eventually(lambda: is_empty(receiver))
    assert receiver.bus.failure("b") is None
    assert len(receiver.received["b"]) == 1


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_message_with_a_part_that_is_missing_is_left_out(
    part: int, sender: Process, receiver: Process
) -> None:
    await receiver.pause("b")
    assert await sender.bus.send("b", LONG)
    client = client_of(sender)
    parts = await client.query("parts#b", names=("sk",))
    assert len(parts) == 3
    await client.write_each(deletes=[Address("parts#b", parts[part]["sk"])])
    receiver.resume("b")
    assert await receiver.hears("b", sender)
    assert LONG not in receiver.received["b"]
    await eventually(lambda: is_empty(receiver))


async def test_a_message_with_an_older_key_than_one_that_was_read_arrives(sender: Process, receiver: Process) -> None:
    assert await receiver.hears("b", sender)
    behind = client_of(sender)
    now = behind.now
    behind.now = lambda: now() - 1000.0
    assert await sender.bus.send("b", Closed("older"))
    assert await sender.bus.send("b", LONG)
    await receiver.receives("b", LONG)
    assert Closed("older") in receiver.received["b"]


async def test_messages_arrive_in_the_order_in_which_a_process_has_sent_them(
    sender: Process, receiver: Process
) -> None:
    await receiver.pause("b")
    messages = [Closed(str(number)) for number in range(30)]
    for message in messages:
        await sender.bus.send("b", message)
    receiver.resume("b")
    await receiver.receives("b", messages[-1])
    assert receiver.received["b"] == messages


async def test_a_node_that_cannot_empty_its_inbox_refuses_messages_until_it_can(
    sender: Process, receiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_MAX_MESSAGES", 5)
    monkeypatch.setattr(inbox, "_PAGE", 3)
    await receiver.pause("b")
    store: Any = receiver.member("b").store
    for number in range(12):
        assert await sender.bus.send("b", Closed(str(number)))
    for _ in range(2):
        await store.read_inbox(0.0, receiver.member("b")._receive_encoded)
    await receiver.member("b")._heartbeat()
    for message in (Closed("refused"), LONG):
        with pytest.raises(BackendError, match="the inbox of node b is full"):
            await sender.bus.send("b", message)
    receiver.resume("b")
    await receiver.receives("b", Closed("11"))
    await eventually(lambda: not store.inbox.is_full)
    await receiver.member("b")._heartbeat()
    assert await receiver.hears("b", sender)
    assert Counter(receiver.received["b"])[Closed("refused")] == 0
    await eventually(lambda: is_empty(receiver))


async def test_a_message_that_no_inbox_can_hold_is_refused(
    sender: Process, receiver: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_MAX_BYTES", 500_000)
    with pytest.raises(BackendError, match="too large"):
        await sender.bus.send("b", LONG)
    assert await is_empty(receiver)


async def test_a_message_to_a_node_that_was_declared_dead_leaves_nothing(table: TableSettings) -> None:
    one, other = build_process(table, QUICK), build_process(table, QUICK)
    await one.start("a")
    await other.start("b")
    await other.kill("b")

    async def is_refused() -> bool:
        return not await one.bus.send("b", Closed(KEY))

    await eventually(is_refused)
    assert not await one.bus.send("b", LONG)
    await eventually(lambda: is_empty(one))
    await one.leave()


@pytest.mark.parametrize("message", [Doubted(KEY, STREAM, 1, "a"), Superseded(KEY, STREAM, 2, "a")])
async def test_who_expects_a_reply_polls_often(
    message: Doubted | Superseded, sender: Process, receiver: Process
) -> None:
    store: Any = sender.member("a").store
    assert not store.inbox._is_waiting()
    assert await sender.bus.send("b", message)
    assert store.inbox._is_waiting()


async def test_another_thread_can_wake_the_node(table: TableSettings, sender: Process) -> None:
    slow = build_process(table)
    bus: Any = slow.bus
    await slow.start("b")
    try:
        assert await sender.bus.send("b", Closed(KEY))
        slow.expecting.add("b")
        await asyncio.to_thread(bus.wake)
        await slow.receives("b", Closed(KEY))
    finally:
        await slow.leave()
