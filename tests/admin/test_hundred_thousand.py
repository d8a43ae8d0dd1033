"""The pages over 100,000 sessions in Redis: few commands, little memory, and never a look at all keys."""

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
from redis import Redis

from mcp_transport import bootstrap
from mcp_transport.domain.session import Session, session_key
from tests.support.redis.backend import write_index
from tests.support.redis.server import RedisServer
from tests.support.visits import LIST, ids

pytestmark = [pytest.mark.servers, pytest.mark.slow]

COUNT, COPIES = 100_000, 100
COMMANDS, BYTES, MEGABYTES = 10_000, 1_000_000, 32
"""What a page may ask of Redis, those in scripts included, be answered by it, and take of memory."""

CLIENTS = ("Claude", "Cursor", "VS Code", "Inspector", "Zed")
VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
SOMEBODY = session_key("500")

COPY = """
local known, copies = {}, {}
for at = 2, #ARGV do known[ARGV[at]] = true end
local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
for at = 1, tonumber(ARGV[1]) do
  copies[at] = letters:sub(at % 32 + 1, at % 32 + 1) .. letters:sub(at / 32 + 1, at / 32 + 1) .. "7777"
end
local pattern = string.rep("[A-Za-z2-7]", 26)
local function id_of(text)
  local found = text:match(pattern)
  return found and known[found:upper()] and found
end
local function copied(text, found, start)
  local copy = (found == found:upper() and start or start:lower()) .. found:sub(7)
  local first, last = text:find(found, 1, true)
  return text:sub(1, first - 1) .. copy .. text:sub(last + 1)
end
local READ = {zset = {"ZRANGE", 0, -1, "WITHSCORES"}, set = {"SMEMBERS"}, hash = {"HGETALL"}}
local WRITE = {zset = "ZADD", set = "SADD", hash = "HSET"}
for _, key in ipairs(redis.call("KEYS", "*")) do
  local kind, own = redis.call("TYPE", key)["ok"], id_of(key)
  if own then
    for _, start in ipairs(copies) do redis.call("COPY", key, copied(key, own, start)) end
  elseif READ[kind] then
    local read = redis.call(READ[kind][1], key, unpack(READ[kind], 2))
    local step = kind == "set" and 1 or 2
    for _, start in ipairs(copies) do
      local words = {}
      for at = 1, #read, step do
        local found = id_of(read[at])
        if found then
          local member = copied(read[at], found, start)
          if kind == "zset" then words[#words + 1] = read[at + 1] end
          words[#words + 1] = member
          if kind == "hash" then words[#words + 1] = read[at + 1] end
        end
        if #words > 4000 or (at + step > #read and #words > 0) then
          redis.call(WRITE[kind], key, unpack(words))
          words = {}
        end
      end
    end
  end
end
"""
"""Copies each session within Redis under ids of other beginnings, its records and its places in every index."""

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
    "a part of a client": "?q=aude",
    "a part of many users": "?q=ser-",
    "a part of few users": "?q=r-77",
    "a common client, by a word, of one node": "?q=claude&node=n3&state=active",
}
EMPTY = {"nobody": "?q=nobody", "busy": "?state=busy", "anonymous": "?user__isempty=1", "no failures": "?failed=ping"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def filled(server: RedisServer) -> dict[str, Any]:
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
        async_to_sync(_open_some)()
    with Redis.from_url(server.admin_url, socket_timeout=120) as redis:
        made = [_session(number) for number in range(COUNT // COPIES)]
        for session in made:
            seen = int(session.last_seen * 1000)
            redis.hset(f"mcp:{{{session.key}}}", "last_seen", seen)
            redis.zadd("mcp:sessions", {session.key: seen})
        redis.eval(COPY, 0, COPIES - 1, *(session.key for session in made))
        assert redis.zcard("mcp:sessions") == COUNT
    return named


async def _open_some() -> None:
    backend = bootstrap.endpoint().backend
    made = [_session(number) for number in range(COUNT // COPIES)]
    await asyncio.gather(*(backend.sessions.restore(session) for session in made))  # as old as they are said to be
    for number in range(0, len(made), 10):
        for _ in range(number % 4 + 1):
            await backend.sessions.enter(made[number].key, made[number].principal, f"n{number // 10 % 5}")
    await write_index(backend)  # as a node's beat does
    await backend.sessions.disconnect()


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
        last_seen=now + 600 - number % 3 * 1200,  # a third of them stay active while the tests run
        ends=now + 86_400,
    )


@dataclass
class Seen:
    """What an answer took, and what it asked of Redis."""

    commands: dict[str, int]
    bytes: int
    megabytes: float
    page: Any


@pytest.fixture
def boss(transactional_db: None, client: Client, filled: dict[str, Any], settings: Any) -> Client:
    for name, value in filled.items():
        setattr(settings, name, value)
    client.force_login(User.objects.create_superuser("boss"))
    return client


def look(client: Client, server: RedisServer, url: str) -> Seen:
    """Ask for a page of a kind that was asked for before: imports, templates and the database are not its own."""
    server.cli("config", "resetstat")
    tracemalloc.start()
    response = client.get(url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status_code == 200, (url, response.status_code)
    stats = re.findall(r"cmdstat_(\S+):calls=(\d+)", server.cli("info", "commandstats"))
    sent = re.search(r"total_net_output_bytes:(\d+)", server.cli("info", "stats"))
    assert sent
    return Seen({name: int(calls) for name, calls in stats}, int(sent[1]), peak / 2**20, response)


def check(seen: Seen, url: str) -> None:
    print(f"{url:60} {sum(seen.commands.values()):4} commands {seen.bytes:8} bytes {seen.megabytes:6.1f} MB")
    assert not {"keys", "scan"} & set(seen.commands), url
    assert sum(seen.commands.values()) < COMMANDS, url
    assert seen.bytes < BYTES, url
    assert seen.megabytes < MEGABYTES, url


def test_a_list_takes_little_and_redis_never_stands_still_for_long(
    boss: Client, server: RedisServer, subtests: pytest.Subtests
) -> None:
    server.cli("config", "set", "slowlog-log-slower-than", "500000")
    server.cli("slowlog", "reset")
    boss.get(LIST)
    for name, query in (LISTS | EMPTY).items():
        with subtests.test(name):
            seen = look(boss, server, LIST + query)
            check(seen, query or "all")
            assert bool(ids(seen.page)) == (query not in EMPTY.values())
    assert server.cli("slowlog", "get").strip() == ""


def test_an_export_takes_little_memory_and_all_that_match_are_asked_for_at_once(
    boss: Client, server: RedisServer
) -> None:
    tracemalloc.start()
    response: Any = boss.get(f"{LIST}export/?format=csv&client=Claude+1.0")
    lines = sum(part.count(b"\r\n") for part in response.streaming_content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines == 10_001
    assert peak / 2**20 < MEGABYTES
    response = boss.post(f"{LIST}end/?client=Claude+1.0", {"select_across": "1"})
    assert "end these 1000 sessions" in response.content.decode()


@pytest.mark.urls("mcpsite.urls")
@pytest.mark.parametrize(
    "url",
    [
        f"{LIST}{SOMEBODY}/change/",
        f"{LIST}{SOMEBODY}/delete/",
        f"{LIST}dashboard/",
        "/mcp-api/sessions/?client=Claude+1.0",
        "/mcp-api/sessions/",
    ],
)
def test_other_pages_take_little(boss: Client, server: RedisServer, url: str) -> None:
    boss.get(url)
    check(look(boss, server, url), url)
