"""Operations of several writes: a process dies between them, another one comes in between, or DynamoDB is late."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.results import Entered, Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.session import session_key
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.protocol.idempotency import stream_name
from tests.support.backends import ANN, KEY, POLICY, STREAM, HandClock, ended, events, in_flight, session
from tests.support.dynamodb.backend import admin, build

KEYED = stream_name("a key")


@pytest.fixture
async def backend(table: TableSettings, clock: HandClock) -> Backend:
    """A process that has opened a session."""
    backend = build(table, now=clock)
    await backend.sessions.open(session(clock))
    return backend


async def test_a_refused_duplicate_leaves_the_body_of_its_original(backend: Backend) -> None:
    original = replace(in_flight(1, stream=KEYED, digest=b"A"), body=b"original")
    await backend.sessions.enter(KEY, ANN, "n1", [original])
    other = replace(original, digest=b"B", body=b"another request")
    entered = await backend.sessions.enter(KEY, ANN, "n2", [other])
    assert entered is not None and entered.running
    claimed = await backend.streams.claim(KEY, KEYED, "n1", "n1")
    assert claimed is not None and [request.body for request in claimed.requests] == [b"original"]


async def test_requests_that_do_not_fit_into_a_session_keep_no_others_out(backend: Backend) -> None:
    requests = [replace(in_flight(number, stream=f"s{number}"), operation="x" * 30_000) for number in range(16)]
    entering = (backend.sessions.enter(KEY, ANN, "n1", [request]) for request in requests)
    results = await asyncio.gather(*entering, return_exceptions=True)
    assert [type(result) for result in results] == [Entered] * 11 + [BackendError] * 5
    assert len(await backend.sessions.in_flight(KEY)) == 11


async def test_nobody_is_evicted_once_there_is_room_again(table: TableSettings, clock: HandClock) -> None:
    backend, other = (build(table, replace(POLICY, max_sessions_per_principal=5), clock) for _ in range(2))
    keys = [session_key(f"{number}") for number in range(6)]
    for key in keys[:5]:
        await backend.sessions.open(session(clock, key))
        clock.advance(1)
    sessions: Any = backend.sessions
    replace_idle = sessions._admission._replace_idle

    async def late(*arguments: Any) -> Any:
        for key in keys[:2]:
            await other.sessions.close(key, None)
        return await replace_idle(*arguments)

    sessions._admission._replace_idle = late
    assert await backend.sessions.open(session(clock, keys[5])) == ()
    assert [await backend.sessions.get(key) is not None for key in keys] == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    "value", [{"S": "x"}, {"N": "-7"}, {"N": "1E+125"}, {"BOOL": True}, {"NS": ["1"]}, {"M": {}}]
)
async def test_a_counter_that_is_no_number_is_counted_anew(
    value: dict[str, Any], table: TableSettings, backend: Backend, clock: HandClock
) -> None:
    client = admin(table.endpoint_url or "")
    [counter] = [item for item in client.scan(TableName=table.table)["Items"] if item["sk"] == {"S": "#"}]
    client.put_item(TableName=table.table, Item={**counter, "v": value})
    for number in range(4):
        clock.advance(1)
        await backend.sessions.open(session(clock, session_key(f"{number}")))
    assert await backend.sessions.get(KEY) is not None, "which the engine closes as evicted"
    [corrected] = [item for item in client.scan(TableName=table.table)["Items"] if item["sk"] == {"S": "#"}]
    assert corrected["v"] == {"N": "3"}


async def test_events_of_an_earlier_call_with_a_key_are_not_those_of_the_next(
    backend: Backend, clock: HandClock
) -> None:
    async def call(*batches: list[Event]) -> None:
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=KEYED)])
        for batch in batches:
            await backend.streams.append(KEY, KEYED, batch, writer="n1", holder="n1")
        await backend.sessions.leave(KEY, ended(1))

    await call([Event(number, b"old", number == 4) for number in range(1, 5)])
    clock.advance(POLICY.stream_keep + 1)
    await call(events(1, 2), events(3, 4, 5, end=True))
    found, lost = await backend.streams.read(KEY, KEYED, 0)
    assert [event.payload for event in found] == [b"1", b"2", b"3", b"4", b"5"]
    assert lost == 0


async def test_a_claim_that_failed_on_the_way_can_be_repeated(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
    await backend.streams.append(KEY, STREAM, events(1), writer="n1")
    streams: Any = backend.streams

    async def fail(*arguments: Any, **options: Any) -> None:
        raise BackendError("throttled")

    with monkeypatch.context() as patch:
        patch.setattr(streams._records, "change", fail)
        with pytest.raises(BackendError, match="throttled"):
            await backend.streams.claim(KEY, STREAM, "n1", "n2")
    claimed = await backend.streams.claim(KEY, STREAM, "n1", "n2")
    assert claimed is not None and claimed.losses == 1
    assert [request.request_id for request in claimed.requests] == [1]
    assert await backend.streams.claim(KEY, STREAM, "n1", "n2") is None, "it has it already"


@pytest.mark.parametrize("name", ["record", f"stream#{STREAM}"])
async def test_a_stream_that_cannot_be_read_leaves_the_journal_of_its_dead_node(
    name: str, backend: Backend, table: TableSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck, streams = list[Any](), backend.streams
    monkeypatch.setattr(backend.bus, "strike_from_journal", lambda *stream: struck.append(stream))
    garbage = {"pk": {"S": f"session#{KEY}"}, "sk": {"S": name}, "d": {"SS": ["x"]}}
    admin(table.endpoint_url or "").put_item(TableName=table.table, Item=garbage)
    with pytest.raises(Unreadable):
        await streams.claim(KEY, STREAM, "n1", "n2")
    assert struck == [("n1", KEY, STREAM)]


async def test_requests_leave_whose_node_died_after_it_had_answered_them(backend: Backend) -> None:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight(2, stream="other")])
    await backend.streams.append(KEY, STREAM, events(1, end=True), writer="n1")
    assert await backend.streams.claim(KEY, STREAM, "n1", "n2") is None
    assert [request.request_id for request in await backend.sessions.in_flight(KEY)] == [2]
    [entry] = await backend.sessions.history(KEY)
    assert (entry.request_id, entry.ending) == (1, Ending.OK)
