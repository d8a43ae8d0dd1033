"""Events in items of the table: several in one, a large one in several, and limits that are refused clearly."""

from __future__ import annotations

import re

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import MAX_ITEM_BYTES, TableSettings
from mcp_transport.backends.dynamodb.event_log import event_items
from mcp_transport.backends.dynamodb.sessions import MAX_STATE_BYTES
from mcp_transport.backends.dynamodb.stream_state import StreamState
from mcp_transport.backends.dynamodb.table import MAX_EVENT_BYTES
from mcp_transport.backends.results import Event
from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import BackendError
from tests.support.backends import ANN, KEY, STREAM, HandClock, in_flight, session
from tests.support.dynamodb.backend import build, client_of

LARGE = bytes(range(256)) * (9 * 4096)  # more than 9 MB


@pytest.fixture
async def backend(table: TableSettings, clock: HandClock) -> Backend:
    backend = build(table, Policy(stream_max_bytes=64 * 1024 * 1024), clock)
    await backend.sessions.open(session(clock))
    return backend


async def test_a_large_event_comes_back_whole_between_small_ones(backend: Backend) -> None:
    stored = [Event(1, b"before"), Event(2, LARGE), Event(3, b"after"), Event(4, b"", terminal=True)]
    assert await backend.streams.append(KEY, STREAM, stored, writer="n1") is not None
    for after in range(4):
        assert await backend.streams.read(KEY, STREAM, after) == (tuple(stored[after:]), 0)


async def test_a_large_event_that_lacks_a_part_is_lost_and_harms_no_other(backend: Backend) -> None:
    stored = [Event(1, b"before"), Event(2, LARGE), Event(3, b"after")]
    await backend.streams.append(KEY, STREAM, stored, writer="n1")
    client = client_of(backend)
    parts = [item for item in await client.query(f"session#{KEY}", "event#") if item["sk"].endswith("#004")]
    [part] = parts
    await client.call("delete_item", TableName=client.table, Key={name: {"S": part[name]} for name in ("pk", "sk")})
    assert await backend.streams.read(KEY, STREAM, 0) == ((stored[0], stored[2]), 1)


def test_items_stay_below_dynamodbs_limit() -> None:
    sizes = [1, MAX_ITEM_BYTES // 2, MAX_ITEM_BYTES - 1, MAX_ITEM_BYTES, MAX_ITEM_BYTES + 1, 3 * MAX_ITEM_BYTES]
    events = [Event(number, b"x" * size) for number, size in enumerate(sizes * 3, start=1)]
    events += [Event(number, b"") for number in range(100, 20_000)]
    items = list(event_items(KEY, STREAM, events, 0))
    for item in items:
        assert sum(map(len, item["e"])) + 12 * len(item["n"]) < 390 * 1024
    assert len({item["sk"] for item in items}) == len(items)


async def test_an_event_over_the_limit_is_refused_and_says_so(backend: Backend) -> None:
    with pytest.raises(BackendError, match=rf"at most {MAX_EVENT_BYTES} bytes"):
        await backend.streams.append(KEY, STREAM, [Event(1, b"x" * MAX_EVENT_BYTES)], writer="n1")
    assert await backend.streams.append(KEY, STREAM, [Event(1, b"small")], writer="n1") is not None


async def test_a_message_of_a_get_stream_over_the_limit_is_refused_and_says_so(backend: Backend) -> None:
    with pytest.raises(BackendError, match=r"GET streams in DynamoDB store at most \d+ bytes a message"):
        await backend.streams.emit(KEY, b"x" * (4 * 1024 * 1024))
    emitted = await backend.streams.emit(KEY, LARGE[: 3 * 1024 * 1024])
    assert emitted is not None
    assert (await backend.streams.read(KEY, "g", 0))[0] == (Event(1, LARGE[: 3 * 1024 * 1024]),)


async def test_a_tools_value_over_the_limit_is_refused_and_says_so(backend: Backend) -> None:
    await backend.sessions.write_state(KEY, "name", b"x" * MAX_STATE_BYTES)
    with pytest.raises(BackendError, match=re.escape(f"values of at most {MAX_STATE_BYTES} bytes")):
        await backend.sessions.write_state(KEY, "name", b"x" * (MAX_STATE_BYTES + 1))
    assert (await backend.sessions.read_state(KEY))["name"] == b"x" * MAX_STATE_BYTES


@pytest.mark.blocks_loop("a record of 350 KB is encoded again and again")
async def test_more_requests_in_flight_than_an_item_holds_are_refused_and_the_session_goes_on(
    backend: Backend,
) -> None:
    async def enter(first: int) -> None:
        requests = [in_flight(f"{number:0100}", stream=f"{number:x}") for number in range(first, first + 500)]
        await backend.sessions.enter(KEY, ANN, "n1", requests)

    with pytest.raises(BackendError, match="too many requests in flight"):
        for first in range(0, 5000, 500):
            await enter(first)
    assert await backend.sessions.touch(KEY)
    assert len(await backend.sessions.in_flight(KEY)) % 500 == 0


async def test_a_durable_calls_body_of_some_megabytes_comes_back(backend: Backend, clock: HandClock) -> None:
    body = LARGE[: 4 * 1024 * 1024]
    request = in_flight(1)
    object.__setattr__(request, "body", body)
    await backend.sessions.enter(KEY, ANN, "n1", [request])
    claimed = await backend.streams.claim(KEY, STREAM, "n1", "n1")
    assert claimed is not None
    assert [item.body for item in claimed.requests] == [body]


@pytest.mark.parametrize("events", [16, 100, 1000])
def test_a_log_drops_a_sixteenth_at_a_time(events: int) -> None:
    state, kept = StreamState(ends=0.0), []
    for number in range(1, 5 * events):
        state.add([Event(number, b"x" * 10)], events, 1_000_000, 0.0)
        kept.append(state.last - state.first + 1)
    assert max(kept) == events
    assert min(kept[events:]) >= events - events // 16
    assert len(state.blocks) <= 17


def test_a_log_of_few_bytes_keeps_its_newest_event() -> None:
    state = StreamState(ends=0.0)
    for number in range(1, 50):
        state.add([Event(number, b"x" * (number * 37 % 200))], 1000, 100, 0.0)
        assert state.last == number == state.blocks[-1].last
        assert sum(block.bytes for block in state.blocks) <= 100 or len(state.blocks) == 1
