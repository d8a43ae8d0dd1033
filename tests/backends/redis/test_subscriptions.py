"""Subscriptions are stored beside the record: only their own operations read them, and they expire with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis

from mcp_transport.backends.base import Backend
from mcp_transport.backends.redis.multiplexed_connection import MultiplexedConnection
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.engine.session_handle import _MAX_SUBSCRIBED_BYTES, _MAX_SUBSCRIPTIONS
from tests.support.backends import ANN, KEY, POLICY, STREAM, HandClock, ended, events, in_flight, index_of, session
from tests.support.redis.backend import build, leave, write_index
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

RECORD, URIS = f"mcp:{{{KEY}}}", f"mcp:{{{KEY}}}:u"
UPDATED = "notifications/resources/updated"
MANY = [f"test://{number}/".ljust(_MAX_SUBSCRIBED_BYTES // 32, "x") for number in range(32)]

# What each request, stream or look of an operator asks for.
OPERATIONS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "enter": lambda backend: backend.sessions.enter(KEY, ANN, "n1"),
    "enter with a request": lambda backend: backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)]),
    "append": lambda backend: backend.streams.append(KEY, STREAM, events(1)),
    "leave": lambda backend: backend.sessions.leave(KEY, ended(1)),
    "attach": lambda backend: backend.streams.attach(KEY, ANN, "g", None, "n1"),
    "read": lambda backend: backend.streams.read(KEY, "g", 0),
    "emit": lambda backend: backend.streams.emit(KEY, b"{}"),
    "broadcast to subscribers": lambda backend: backend.streams.emit(
        KEY, b"{}", Broadcast(UPDATED, "b", "1" * 15 + "-00000")
    ),
    "touch": lambda backend: backend.sessions.touch(KEY),
    "update": lambda backend: backend.sessions.update(KEY, initialized=True),
    "get": lambda backend: backend.sessions.get(KEY),
    "list": lambda backend: index_of(backend).page(query=SessionQuery(user="ann")),
    "close": lambda backend: backend.sessions.close(KEY, ANN),
}


async def subscribe(backend: Backend, *uris: str) -> None:
    for uri in uris:
        assert await backend.sessions.subscribe(KEY, uri, True, _MAX_SUBSCRIPTIONS, _MAX_SUBSCRIBED_BYTES)


@pytest.fixture
async def timed(server: RedisServer, admin: redis.Redis) -> AsyncIterator[Backend]:
    """A backend on the clock of Redis, with one session."""
    backend = build(server)
    await begin(backend)
    yield backend
    await leave(backend)


async def begin(backend: Backend) -> None:
    """Open the session, and write it into the index."""
    await backend.sessions.open(session(HandClock(), created=0.0, last_seen=0.0, ends=POLICY.session_max_age))
    await write_index(backend)


async def costs(backend: Backend, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return the bytes of Redis's answers to each operation, and the commands that it runs, also those of scripts."""
    received = 0
    original = MultiplexedConnection.data_received

    def counted(wire: MultiplexedConnection, data: bytes) -> None:
        nonlocal received
        received += len(data)
        original(wire, data)

    found: dict[str, object] = {}
    with monkeypatch.context() as patch:
        patch.setattr(MultiplexedConnection, "data_received", counted)
        for name, operate in OPERATIONS.items():
            await backend.sessions.flush()
            admin.config_resetstat()
            received = 0
            await operate(backend)
            stats = admin.info("commandstats")
            # Whether a life is slid depends on the time since the last use.
            calls = Counter({command: line["calls"] for command, line in stats.items() if "pexpire" not in command})
            found[name] = (received, calls - Counter(["cmdstat_config|resetstat", "cmdstat_info"]))
    return found


async def test_no_operation_costs_more_in_a_session_with_many_subscriptions(
    timed: Backend, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await costs(timed, admin, monkeypatch)  # after which Redis knows the scripts
    found = []
    for uris in ((), MANY):
        admin.flushall()
        await begin(timed)
        await subscribe(timed, *uris)
        assert sum(map(len, await timed.sessions.subscriptions(KEY))) == (_MAX_SUBSCRIBED_BYTES if uris else 0)
        found.append(await costs(timed, admin, monkeypatch))
    without, with_many = found
    assert with_many == without


async def test_subscriptions_live_as_long_as_the_record(timed: Backend, admin: redis.Redis) -> None:
    await subscribe(timed, "test://a")
    of_the_record = admin.pttl(RECORD)
    assert 0 < admin.pttl(URIS) <= of_the_record + 1
    for use in (lambda: timed.sessions.enter(KEY, ANN, "n1"), lambda: timed.sessions.touch(KEY)):
        for key in (RECORD, URIS):
            admin.pexpire(key, 1000)
        assert await use()
        assert admin.pttl(URIS) > 1000
    assert await timed.sessions.close(KEY, ANN)
    assert not admin.exists(URIS)


# -- the previous release, during a rolling deployment -------------------------------------------------


@pytest.fixture
async def older(timed: Backend, admin: redis.Redis) -> Backend:
    """A session of the previous release, with subscriptions to two resources."""
    admin.hset(RECORD, "subscriptions", json.dumps(["test://a", "test://b"]))
    return timed


async def test_subscriptions_in_a_record_of_the_previous_release_are_read(older: Backend) -> None:
    assert await older.sessions.enter(KEY, ANN, "n1")
    assert await older.sessions.subscriptions(KEY) == {"test://a", "test://b"}
    for number, uri in enumerate(["test://a", "test://b"]):
        broadcast = Broadcast(UPDATED, uri, f"{number + 1:015d}-00000")
        assert await older.streams.emit(KEY, b"{}", broadcast) is not None
    assert await older.streams.emit(KEY, b"{}", Broadcast(UPDATED, "test://c", f"{9:015d}-00000")) is None


async def test_the_first_change_moves_subscriptions_out_of_the_record(older: Backend, admin: redis.Redis) -> None:
    assert await older.sessions.subscribe(KEY, "test://a", False, 1, 1), "what no longer fits can be taken back"
    assert (admin.hget(RECORD, "subscriptions"), admin.smembers(URIS)) == ("[]", {"test://b"})
    assert 0 < admin.pttl(URIS) <= admin.pttl(RECORD) + 1
    await subscribe(older, "test://c")
    assert await older.sessions.subscriptions(KEY) == {"test://b", "test://c"}


async def test_the_previous_release_finds_the_member_that_it_reads(timed: Backend, admin: redis.Redis) -> None:
    await subscribe(timed, "test://a")
    assert admin.hget(RECORD, "subscriptions") == "[]"


async def test_what_the_previous_release_subscribes_to_meanwhile_is_heard(older: Backend, admin: redis.Redis) -> None:
    await subscribe(older, "test://c")
    admin.hset(RECORD, "subscriptions", json.dumps(["test://d", "test://c"]))
    assert await older.sessions.subscriptions(KEY) == {"test://a", "test://b", "test://c", "test://d"}
