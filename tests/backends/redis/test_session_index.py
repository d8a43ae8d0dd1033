"""The session index in Redis: written after the heartbeat, removed with the session, limited in every search."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from mcp_transport.backends.base import Backend
from mcp_transport.backends.redis import session_search
from mcp_transport.backends.redis.session_index import SessionIndexWriter
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.exceptions import BackendError
from tests.support.backends import ANN, POLICY, HandClock, in_flight, index_of, session
from tests.support.redis.backend import build, changes_of, client_of, leave, write_index
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

KEYS = [f"{letter * 26}" for letter in "ABCDEFGH"]
OF_INDEX = ("words", "facts", "facet", "by")


def index_keys(server: RedisServer) -> list[str]:
    return [key for key in server.cli("KEYS", "*").split() if any(f"mcp:{name}" in key for name in OF_INDEX)]


async def fill(backend: Backend, clock: HandClock, keys: list[str] = KEYS, **members: Any) -> None:
    for key in keys:
        clock.advance(1)
        await backend.sessions.open(session(clock, key, **{"client_info": {"name": "Claude"}, **members}))
    await write_index(backend)


async def found(backend: Backend, query: SessionQuery, offset: int = 0, limit: int = 100) -> list[str]:
    return [item.key for item in (await index_of(backend).page(offset, limit, query)).sessions]


async def test_a_new_session_is_listed_at_once_and_found_after_the_heartbeat(
    backend: Backend, clock: HandClock
) -> None:
    await backend.sessions.open(session(clock, KEYS[0]))
    assert await found(backend, SessionQuery()) == [KEYS[0]]
    assert await found(backend, SessionQuery(user="ann")) == []
    await write_index(backend)
    assert await found(backend, SessionQuery(user="ann")) == [KEYS[0]]


async def test_what_is_closed_leaves_nothing_in_the_index(
    backend: Backend, clock: HandClock, server: RedisServer
) -> None:
    await fill(backend, clock)
    assert len(index_keys(server)) >= 5
    for key in KEYS:
        await backend.sessions.close(key, None)
    await backend.sessions.ping()
    assert index_keys(server) == []


async def test_what_has_expired_is_swept_from_the_index(
    backend: Backend, clock: HandClock, server: RedisServer
) -> None:
    await fill(backend, clock)
    clock.advance(POLICY.session_ttl + POLICY.lease + 1)
    await fill(backend, clock, ["Z" * 26], user="bob", client_info={"name": "Cursor"})
    assert await found(backend, SessionQuery(text="claude")) == []
    await backend.sessions.close("Z" * 26, None)
    await backend.sessions.ping()
    assert index_keys(server) == []


async def test_every_key_of_the_index_has_an_end(backend: Backend, clock: HandClock, server: RedisServer) -> None:
    await fill(backend, clock)
    await backend.sessions.enter(KEYS[0], ANN, "n9")
    await write_index(backend)
    keys = index_keys(server)
    assert [key for key in keys if int(server.cli("PTTL", key)) <= 0] == []


async def test_a_heartbeat_that_fails_is_made_up_for(
    backend: Backend, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(writer: SessionIndexWriter, sessions: Any) -> None:
        raise BackendError("away")

    await backend.sessions.open(session(clock, KEYS[0]))
    with monkeypatch.context() as patch:
        patch.setattr(SessionIndexWriter, "_add", away)
        with pytest.raises(BackendError):
            await write_index(backend)
    await write_index(backend)
    assert await found(backend, SessionQuery(user="ann")) == [KEYS[0]]


async def test_uses_that_a_heartbeat_could_not_write_are_written_by_the_next_one(
    backend: Backend, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(writer: SessionIndexWriter, sessions: Any) -> None:
        raise BackendError("away")

    await fill(backend, clock, KEYS[:2])
    for number in range(3):
        await backend.sessions.enter(KEYS[0], ANN, "n9", [in_flight(number)])
    with monkeypatch.context() as patch:
        patch.setattr(SessionIndexWriter, "_write_served", away)
        with pytest.raises(BackendError):
            await write_index(backend)
    await write_index(backend)
    assert await found(backend, SessionQuery(node="n9")) == [KEYS[0]]
    page = await index_of(backend).page(0, 2, SessionQuery(), "-requests")
    assert [session.key for session in page.sessions] == [KEYS[0], KEYS[1]]


async def test_a_session_that_moved_is_found_by_its_last_node_alone(backend: Backend, clock: HandClock) -> None:
    await fill(backend, clock, KEYS[:2])
    for node in ("n8", "n9"):
        await backend.sessions.enter(KEYS[0], ANN, node)
        await write_index(backend)
    assert await found(backend, SessionQuery(node="n8")) == []
    assert await found(backend, SessionQuery(node="n9")) == [KEYS[0]]


@pytest.mark.parametrize("few", [1, 3, 5000], ids="few={}".format)
@pytest.mark.parametrize("stride", [1, 3, 500], ids="stride={}".format)
async def test_pages_are_the_same_however_many_share_a_value(
    backend: Backend, clock: HandClock, monkeypatch: pytest.MonkeyPatch, few: int, stride: int
) -> None:
    monkeypatch.setattr(session_search, "_MAX_SORTED", few)
    monkeypatch.setattr(session_search, "_SCAN_BATCH", stride)
    await fill(backend, clock)
    await fill(backend, clock, ["Z" * 26], user="bob")
    query = SessionQuery(user="ann", client="Claude")
    newest = list(reversed(KEYS))
    assert await found(backend, query) == newest
    assert await found(backend, query, 2, 3) == newest[2:5]
    assert await found(backend, query, 6, 3) == newest[6:]
    assert await found(backend, query, 9, 3) == []


async def test_a_search_looks_at_no_more_than_it_may(
    backend: Backend, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_search, "_MAX_SORTED", 1)
    monkeypatch.setattr(session_search, "_SCAN_BATCH", 2)
    monkeypatch.setattr(session_search, "_MAX_SCANNED", 4)
    await fill(backend, clock, KEYS[:3], user="bob")
    await fill(backend, clock, KEYS[3:])
    page = await index_of(backend).page(query=SessionQuery(user="bob"))
    assert (page.sessions, page.total, page.is_exact) == ((), 3, False)


@pytest.mark.parametrize("name", ["anna", "an\xff", "anя", "an\U0001f9ff"])
async def test_whatever_follows_a_words_beginning_is_found(backend: Backend, clock: HandClock, name: str) -> None:
    await fill(backend, clock, KEYS[:1], user=name)
    assert await found(backend, SessionQuery(text="an")) == [KEYS[0]]
    assert await found(backend, SessionQuery(text="am")) == []


@pytest.mark.parametrize("name", ["", "\0", "x" * 300, "\U0001f9ff", "a\nb", "ANN", "İ"])
async def test_odd_names_are_indexed_and_forgotten(
    backend: Backend, clock: HandClock, server: RedisServer, name: str
) -> None:
    await fill(backend, clock, KEYS[:1], user=name, client_info={"name": name, "version": 7})
    if name.strip("\0"):
        assert await found(backend, SessionQuery(user=name)) == [KEYS[0]]
        assert await found(backend, SessionQuery(text=name)) == [KEYS[0]]
    await backend.sessions.close(KEYS[0], None)
    await backend.sessions.ping()
    assert index_keys(server) == []


async def test_what_another_node_closed_before_the_heartbeat_is_not_indexed(
    backend: Backend, clock: HandClock, server: RedisServer
) -> None:
    await backend.sessions.open(session(clock, KEYS[0]))
    opened = dict(changes_of(backend).opened)
    await backend.sessions.close(KEYS[0], None)
    await backend.sessions.ping()
    changes_of(backend).opened = opened  # as on the node that opened it, and does not know
    await write_index(backend)
    assert index_keys(server) == []


async def test_sessions_in_use_stay_listed_without_new_ones(
    backend: Backend, clock: HandClock, server: RedisServer
) -> None:
    await backend.sessions.open(session(clock, KEYS[0]))
    listing = client_of(backend).keys.sessions
    server.cli("PEXPIRE", listing, "1000")
    await backend.sessions.enter(KEYS[0], ANN, "n1")
    await write_index(backend)
    assert int(server.cli("PTTL", listing)) > POLICY.session_ttl * 1000


async def test_the_summary_says_how_much_memory_there_is(
    backend: Backend, clock: HandClock, server: RedisServer
) -> None:
    server.cli("config", "set", "maxmemory", "200mb")
    try:
        overview = await index_of(backend).overview()
    finally:
        server.cli("config", "set", "maxmemory", "0")
    assert overview.memory > 500_000
    assert overview.memory_limit == 200 * 2**20
    assert (await index_of(backend).overview()).memory_limit == 0


async def test_of_very_many_sessions_a_sample_is_summed_up(
    backend: Backend, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_search, "_SAMPLE_SIZE", 4)
    await fill(backend, clock)
    overview = await index_of(backend).overview()
    assert (overview.total, overview.sampled) == (8, 4)
    assert overview.values["user"] == (("ann", 8),)
    assert sum(count for _, count in overview.values["client"]) == 8


async def test_a_count_that_comes_before_the_session_is_known_is_kept(backend: Backend, clock: HandClock) -> None:
    await backend.sessions.open(session(clock, KEYS[0]))
    await backend.sessions.open(session(clock, KEYS[1]))
    await backend.sessions.enter(KEYS[0], ANN, "n1", [])
    changes_of(backend).errors[KEYS[0]] = 7
    await write_index(backend)
    page = await index_of(backend).page(0, 10, SessionQuery(), "-errors")
    assert [item.key for item in page.sessions] == KEYS[:2]
    await backend.sessions.close(KEYS[0], None)
    changes_of(backend).errors[KEYS[0]] = 9
    await write_index(backend)
    client = client_of(backend)
    assert await client.execute("ZSCORE", client.keys.ordered("errors"), KEYS[0]) is None


async def test_the_index_outlives_a_session_that_is_used_to_its_end(server: RedisServer, admin: redis.Redis) -> None:
    policy = Policy(session_ttl=60.0, session_max_age=7 * 86_400.0)
    backend = build(server, policy)
    ends = time.time() + policy.session_max_age
    await backend.sessions.open(session(time.time, KEYS[0], ends=ends))
    await write_index(backend)
    left = {name: admin.pttl(name) for name in index_keys(server)}
    assert len(left) >= 5
    assert not {name: rest for name, rest in left.items() if rest < policy.session_max_age * 1000}
    await leave(backend)
