"""The pages over 100,000 sessions in Redis: fast, within little memory, and without a look at all keys."""

from __future__ import annotations

import asyncio
import re
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client
from django.test.utils import override_settings

from mcp_transport import bootstrap
from mcp_transport.backends.redis import RedisBackend
from mcp_transport.backends.redis.codec import milliseconds
from mcp_transport.protocol.session import Session, session_key
from tests.support.redis.server import RedisServer
from tests.support.visits import LIST, ids

COUNT = 100_000
SECONDS = 0.3
"""Server time that a page may take."""
MEGABYTES = 32

CLIENTS = ("Claude", "Cursor", "VS Code", "Inspector", "Zed")
VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
SOMEBODY = session_key("50000")

LISTS = {
    "all": "",
    "a page in the middle": "?offset=2000",
    "oldest first": "?o=created",
    "most requests first": "?o=-requests",
    "most errors first": "?o=-errors",
    "last seen first, the other way round": "?o=last_seen",
    "one user": "?user=user-777",
    "a common client": "?client=Claude+1.0",
    "a common client of one user": "?client=Claude+1.0&user=user-5",
    "a common revision by requests": "?protocol_version=2025-11-25&o=-requests",
    "one node": "?node=n3",
    "idle": "?state=idle",
    "active": "?state=active",
    "opening": "?state=opening",
    "opened lately": "?age=hour",
    "opened long ago": "?age=over-day",
    "the beginning of an id": f"?q={SOMEBODY[:6].lower()}",
    "the beginning of a client": "?q=clau",
    "the beginning of an address": "?q=10.1.",
    "a common client, by a word, of one node": "?q=claude&node=n3&state=active",
}
EMPTY = {"nobody": "?q=nobody", "busy": "?state=busy"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def filled(server: RedisServer) -> Iterator[dict[str, Any]]:
    """Fill a Redis as nodes would have within a day, and return the settings that name it."""
    named = {
        # Requests are counted in the default cache, which needs rights of its own.
        "CACHES": {
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "mcp": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"},
        },
        "MCP_TRANSPORT": {"CACHE": "mcp", "MAX_SESSIONS_PER_PRINCIPAL": COUNT, "SESSION_TTL_SECONDS": 86_400},
    }
    with override_settings(**named):
        async_to_sync(_fill)()
    yield named


async def _fill() -> None:
    backend = bootstrap.endpoint().backend
    assert isinstance(backend, RedisBackend)
    for first in range(0, COUNT, 1000):
        made = [_session(number) for number in range(first, first + 1000)]
        await asyncio.gather(*(_open(backend, session) for session in made))
        await asyncio.gather(*(_use(backend, number) for number in range(first, first + 1000, 10)))
        await backend._write_books()
    await backend.disconnect()


async def _open(backend: RedisBackend, session: Session) -> None:
    """Do what `open` does, without the cap for each principal, which would take most of the time."""
    await backend._store(session, created=milliseconds(session.created))
    seen, (record,) = milliseconds(session.last_seen), backend._keys.of_session(session.key)
    await backend._pipeline().execute("HSET", record, "last_seen", seen)
    await backend._pipeline().execute("ZADD", backend._keys.sessions, seen, session.key)
    backend._opened[session.key] = session


async def _use(backend: RedisBackend, number: int) -> None:
    for _ in range(number % 4 + 1):
        await backend.enter(session_key(str(number)), f"user\n{number % 1000}", f"n{number // 10 % 5}")


def _session(number: int) -> Session:
    now = time.time()
    return Session(
        key=session_key(str(number)),
        principal=f"user\n{number % 1000}",
        user=f"user-{number % 1000}",
        client_info={"name": CLIENTS[number % 5], "version": "1.0"},
        protocol_version=VERSIONS[number % 3],
        address=f"10.{number % 7}.0.{number % 251}",
        initialized=number % 50 > 0,
        node=f"n{number % 5}",
        created=now - number % 9 * 6 * 3600,
        last_seen=now - number % 3 * 600,
        ends=now + 86_400,
    )


@dataclass
class Seen:
    """What an answer took, at the best of three times, and what it asked of Redis."""

    seconds: float
    megabytes: float
    commands: dict[str, int]


@pytest.fixture
def boss(transactional_db: None, client: Client, filled: dict[str, Any], settings: Any) -> Client:
    for name, value in filled.items():
        setattr(settings, name, value)
    client.force_login(User.objects.create_superuser("boss"))
    return client


def look(client: Client, server: RedisServer, url: str) -> Seen:
    client.get(url)  # imports, templates, the database
    server.cli("config", "resetstat")
    times = []
    for _ in range(3):
        began = time.perf_counter()
        response = client.get(url)
        assert response.status_code == 200, (url, response.status_code)
        times.append(time.perf_counter() - began)
    stats = re.findall(r"cmdstat_(\S+):calls=(\d+)", server.cli("info", "commandstats"))
    tracemalloc.start()
    client.get(url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Seen(min(times), peak / 2**20, {name: int(calls) for name, calls in stats})


def check(seen: Seen, url: str) -> None:
    print(f"{url:60} {seen.seconds * 1000:6.1f} ms {seen.megabytes:6.1f} MB")
    assert seen.seconds < SECONDS, url
    assert seen.megabytes < MEGABYTES, url
    assert not {"keys", "scan"} & set(seen.commands), url


@pytest.mark.parametrize("query", (LISTS | EMPTY).values(), ids=(LISTS | EMPTY).keys())
def test_a_list_is_fast(boss: Client, server: RedisServer, query: str) -> None:
    check(look(boss, server, LIST + query), query or "all")
    assert bool(ids(boss.get(LIST + query))) == (query not in EMPTY.values())


@pytest.mark.parametrize("page", ["change/", "delete/"])
def test_a_session_is_fast(boss: Client, server: RedisServer, page: str) -> None:
    check(look(boss, server, f"{LIST}{SOMEBODY}/{page}"), page)


@pytest.mark.urls("mcpsite.urls")
@pytest.mark.parametrize("url", [f"{LIST}dashboard/", "/mcp-api/sessions/?client=Claude+1.0", "/mcp-api/sessions/"])
def test_other_pages_are_fast(boss: Client, server: RedisServer, url: str) -> None:
    check(look(boss, server, url), url)


def test_redis_never_stands_still_for_long(boss: Client, server: RedisServer) -> None:
    server.cli("config", "set", "slowlog-log-slower-than", "100000")
    server.cli("slowlog", "reset")
    for query in LISTS.values():
        assert boss.get(LIST + query).status_code == 200
    assert server.cli("slowlog", "get").strip() == ""
