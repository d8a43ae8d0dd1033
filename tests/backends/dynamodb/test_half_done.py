"""A process dies between the two writes of an operation, or its node's answer gets lost: the next one finishes it."""

from __future__ import annotations

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.session_records import SessionRecords
from mcp_transport.backends.results import NoRoom
from mcp_transport.domain.history import Ending
from mcp_transport.domain.session import session_key
from mcp_transport.exceptions import BackendError
from tests.support.backends import ANN, KEY, POLICY, STREAM, HandClock, ended, events, in_flight, session
from tests.support.dynamodb.backend import build, client_of

KEYED = "k" + "0" * 25


@pytest.fixture
async def backend(table: TableSettings, clock: HandClock) -> Backend:
    """A process, with a session in which a request is in flight on a node that is going to die."""
    backend = build(table, now=clock)
    await backend.sessions.open(session(clock))
    return backend


@pytest.fixture
def successor(table: TableSettings, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Another process, which knows the node to be dead."""

    async def is_dead(node: str, by: str) -> bool:
        return node == "dead"

    backend = build(table, now=clock)
    monkeypatch.setattr(backend.bus, "is_dead", is_dead)
    return backend


async def die(*_: object) -> None:
    raise BackendError("the process died")


async def end_and_die(backend: Backend, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store a stream's end, and die before its requests leave the record."""
    await backend.sessions.enter(KEY, ANN, "dead", [in_flight(1, node="dead", stream=stream)])

    with monkeypatch.context() as patch:
        patch.setattr(SessionRecords, "leave", die)
        with pytest.raises(BackendError):
            await backend.streams.append(KEY, stream, events(1, end=True), writer="dead", leaving=ended(1))


async def test_a_call_that_was_answered_leaves_when_its_stream_is_claimed(
    backend: Backend, successor: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end_and_die(backend, STREAM, monkeypatch)
    assert [item.request_id for item in await successor.sessions.in_flight(KEY)] == [1]
    assert await successor.streams.claim(KEY, STREAM, "dead", "n2") is None
    assert await successor.sessions.in_flight(KEY) == ()
    assert [entry.ending for entry in await successor.sessions.history(KEY)] == [Ending.OK]
    assert (await successor.streams.read(KEY, STREAM, 0))[0] == tuple(events(1, end=True)), "the answer stays"


async def test_of_a_batch_a_request_that_was_answered_is_not_claimed(
    backend: Backend, successor: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [in_flight(number, node="dead") for number in (1, 2)]
    await backend.sessions.enter(KEY, ANN, "dead", requests)
    with monkeypatch.context() as patch:
        patch.setattr(SessionRecords, "leave", die)
        with pytest.raises(BackendError):
            leaving = ended(1, ending=Ending.ERROR)
            await backend.streams.append(KEY, STREAM, events(1), writer="dead", leaving=leaving)
    claimed = await successor.streams.claim(KEY, STREAM, "dead", "n2")
    assert claimed is not None
    assert [item.request_id for item in claimed.requests] == [2]
    assert [item.request_id for item in await successor.sessions.in_flight(KEY)] == [2]
    endings = [entry.ending for entry in await successor.sessions.history(KEY) if entry.request_id == 1]
    assert endings == [Ending.ERROR]


async def test_the_same_append_again_finishes_what_the_first_has_begun(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end_and_die(backend, STREAM, monkeypatch)
    again = await backend.streams.append(KEY, STREAM, events(1, end=True), writer="dead", leaving=ended(1))
    assert again is not None and not again.fenced
    assert await backend.sessions.in_flight(KEY) == ()


async def test_a_repetition_by_its_key_finds_the_answer_that_was_stored(
    backend: Backend, successor: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end_and_die(backend, KEYED, monkeypatch)
    entered = await successor.sessions.enter(KEY, ANN, "n2", [in_flight(9, node="n2", stream=KEYED)])
    assert entered is not None and entered.ended_digest == b"d"


async def test_events_that_were_stored_without_their_numbers_do_not_count(
    backend: Backend, successor: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.sessions.enter(KEY, ANN, "dead", [in_flight(1, node="dead")])
    await backend.streams.append(KEY, STREAM, events(1), writer="dead", holder="dead")

    with monkeypatch.context() as patch:
        patch.setattr(DynamoClient, "write", die)
        with pytest.raises(BackendError):
            await backend.streams.append(KEY, STREAM, events(2, 3), writer="dead")
    assert await successor.streams.read(KEY, STREAM, 0) == (tuple(events(1)), 0)
    claimed = await successor.streams.claim(KEY, STREAM, "dead", "n2")
    assert claimed is not None
    await successor.streams.append(KEY, STREAM, events(claimed.next, end=True), writer="n2")
    found, lost = await successor.streams.read(KEY, STREAM, 0)
    assert ([event.seq for event in found], lost) == ([1, claimed.next], 0)


async def test_entries_that_dynamodb_has_deleted_take_no_room(
    backend: Backend, table: TableSettings, clock: HandClock
) -> None:
    """The counter of a caller's sessions does not change when DynamoDB deletes what has expired."""
    client = client_of(backend)
    for number in range(POLICY.max_sessions_per_principal - 1):
        await backend.sessions.open(session(clock, session_key(f"s{number}")))
    pk = next(
        item["pk"]["S"]
        for item in (await client.call("scan", TableName=table.table))["Items"]
        if item["pk"]["S"].startswith("caller#")
    )
    entries = [item for item in await client.query(pk) if item["sk"] != "#"]
    for entry in entries:
        await backend.sessions.enter(entry["key"], ANN, "n1", [in_flight(1)])
    with pytest.raises(NoRoom):
        await backend.sessions.open(session(clock, session_key("one more")))
    raw = {name: {"S": entries[0][name]} for name in ("pk", "sk")}
    await client.call("delete_item", TableName=table.table, Key=raw)
    assert await backend.sessions.open(session(clock, session_key("one more"))) == ()
    with pytest.raises(NoRoom):
        await backend.sessions.enter(session_key("one more"), ANN, "n1", [in_flight(1)])
        await backend.sessions.open(session(clock, session_key("too many")))
