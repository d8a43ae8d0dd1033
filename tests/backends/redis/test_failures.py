"""Failures beside the history, and times of messages: what the previous release and garbage do to them."""

from __future__ import annotations

import json

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.redis.codec import decode_history
from mcp_transport.domain.history import Ending, Failure, FailureKind
from tests.support.backends import ANN, KEY, STREAM, HandClock, events, in_flight, session
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers
FAILED = Failure(ending=Ending.ERROR, kind=FailureKind.EXCEPTION, error="KeyError")
LINE = b"ended 1000 n1 s 5 error tools/call%20add 7"
RECORD, STREAMS = f"mcp:{{{KEY}}}", f"mcp:{{{KEY}}}:t"


async def fail(backend: Backend, id: int = 1) -> tuple[Failure | None, ...]:
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(id)])
    await backend.sessions.leave(KEY, {id: FAILED})
    return tuple(entry.failure for entry in await backend.sessions.history(KEY))


async def test_lines_of_the_previous_release_are_read_and_those_of_this_one_by_it(
    backend: Backend, clock: HandClock, server: RedisServer
) -> None:
    await backend.sessions.open(session(clock))
    assert await fail(backend) == (FAILED,)
    [line] = server.ask("LRANGE", f"{RECORD}:h", "0", "-1")
    what, time, *others = line.encode().split(b" ", 7)
    assert (what, len(others), others[3]) == (b"ended", 6, b"error"), "eight fields, the last of which is an id"
    assert json.loads(others[-1]) == 1
    server.ask("LPUSH", f"{RECORD}:h", f"ended {time.decode()} n1 s 5 error tools/call%20add 2")
    entries = await backend.sessions.history(KEY)
    assert [(entry.request_id, entry.ending, entry.failure) for entry in entries] == [
        (2, Ending.ERROR, None),
        (1, Ending.ERROR, FAILED),
    ]


@pytest.mark.parametrize("field", ["failures", "failure:0", "failure:1", "failure:2"])
@pytest.mark.parametrize("value", ["", "x", "-1", "1e300", "99999999999999999999", '1000 7 ["lost"]', "\x00 \xff {"])
async def test_garbage_beside_the_history_costs_no_entry(
    backend: Backend, clock: HandClock, server: RedisServer, field: str, value: str
) -> None:
    await backend.sessions.open(session(clock))
    await fail(backend)
    server.ask("HSET", RECORD, field, value)
    newest, *others = await fail(backend, 2)
    assert (newest, len(others)) == (FAILED, 1)
    assert await backend.sessions.get(KEY) is not None


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"1000 7", b"1000 7 {}", b"1000 %22 []", b'1000 7 ["lost",1,"","",""', b"-1 7 x"]
)
def test_failure_that_cannot_be_read_is_left_out(raw: bytes) -> None:
    [entry] = decode_history([LINE], [None, raw])
    assert (entry.request_id, entry.failure) == (7, None)


@pytest.mark.parametrize(
    "times", ['"x"', "5", "null", "{}", '{"a":1}', '["x",{}]', "[[]]", "[1]", "[1e300,-5]", str([7] * 500)]
)
async def test_garbage_in_the_times_of_a_stream_costs_no_event(
    backend: Backend, clock: HandClock, server: RedisServer, times: str
) -> None:
    await backend.sessions.open(session(clock))
    await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
    await backend.streams.append(KEY, STREAM, events(1), writer="n1")
    stored = server.ask("HGET", STREAMS, STREAM)
    stream = {**json.loads(stored), "times": json.loads(times)}
    server.ask("HSET", STREAMS, STREAM, json.dumps(stream))
    assert await backend.streams.append(KEY, STREAM, events(2), writer="n1") is not None
    assert await backend.streams.append(KEY, STREAM, events(3), writer="n1") is not None
    read, lost = await backend.streams.read(KEY, STREAM, 0)
    assert ([event.seq for event in read], lost) == ([1, 2, 3], 0)
    assert [record.last for record in await backend.streams.stream_records(KEY)] == [3]
