"""Every key in Redis is documented, with its type."""

from __future__ import annotations

import inspect

import pytest
import redis

from mcp_transport.backends.redis import keys
from mcp_transport.backends.redis.keys import Keys
from tests.backends.redis.scene import nodes, use
from tests.support.docs import table
from tests.support.redis.aliases import django
from tests.support.redis.keys import documented, key_pattern
from tests.support.redis.permanent import PERMANENT, permanent_keys, refuse_permanent_keys
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

WORDS = {
    "key": "S",
    "stream": "<stream>",
    "caller": "C",
    "name": "<name>",
    "value": "V",
    "by": "<order>",
    "node": "N",
    "bucket": "B",
}


def names_of(prefix: str = "") -> set[str]:
    """Return the names of all keys, with the documentation's placeholders for the variable parts."""
    made, found = Keys(prefix), set[str]()
    for name, method in inspect.getmembers(made, inspect.ismethod):
        if not name.startswith("_"):
            parameters = inspect.signature(method).parameters.values()
            given = [WORDS[item.name] for item in parameters if item.default is item.empty]
            found.add(method(*given))
    found |= {made.of_session("S", part) for part in keys._SUFFIXES if part != "log"}
    found |= {name for attribute, name in vars(made).items() if attribute != "prefix"}
    for value in ("C", "V", "B"):
        found = {name.replace(keys._digest(value), value) for name in found}
    return found


def test_each_key_is_documented() -> None:
    assert names_of() == documented().keys() - {"mcp:facet:node:V"}  # which is one of mcp:facet:<name>:V


def test_each_key_begins_with_the_prefix_that_rights_are_for() -> None:
    assert all(name.startswith("shop:mcp:") for name in names_of("shop:"))


def test_keys_that_never_expire_are_those_of_which_that_is_documented() -> None:
    rows = {row[0]: row[3] for row in table("howto/redis.md", "Key")}
    assert {key for key, expires in rows.items() if expires.startswith("never")} == PERMANENT.keys()


def test_a_key_without_an_end_is_found(server: RedisServer, admin: redis.Redis) -> None:
    refuse_permanent_keys(server)
    admin.set("mcp:{S}", "x", px=60_000)
    admin.set("shop:mcp:born", "x")
    assert permanent_keys(server) == set()
    admin.set("shop:mcp:{S}", "x")
    assert permanent_keys(server) == {"shop:mcp:{S}"}
    admin.flushall()


async def test_each_key_has_the_documented_type(server: RedisServer, admin: redis.Redis) -> None:
    async with nodes(django(server.url)) as (one, other):
        await use(one, other)
        found = {str(name): str(admin.type(name)) for name in admin.scan_iter()}
    seen = set()
    for key, kind in found.items():
        name = next(name for name in documented() if key_pattern(name).fullmatch(key))
        assert documented()[name] == {"zset": "sorted set"}.get(kind, kind), key
        seen.add(name)
    assert seen == documented().keys() - {"mcp:{in:N}:sweep"}  # no node died
