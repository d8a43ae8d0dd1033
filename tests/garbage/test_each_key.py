"""For each documented key: something of each type in its place, and its own type with odd content.

`MCP_GARBAGE=all` tries all of it, which takes a minute and a half.
"""

from __future__ import annotations

import os
from typing import Any, Final

import pytest
import redis

from mcp_transport.domain.session import session_key
from tests.garbage.stage import Stage
from tests.garbage.values import odd_contents, of_each_type
from tests.support.redis.keys import documented, key_pattern

BACKUP: Final = "mcp:backup"
# Only the node that they belong to reads these, and has them right again by itself.
MENDED: Final = ("mcp:{in:N}:q", "mcp:{in:N}:b", "mcp:{in:N}:own", "mcp:{in:N}:lease", "mcp:{in:N}:sweep")
# In the short form some of what can be wrong with the content of a key is tried, in the long one all of it.
SOME: Final = 1 if os.environ.get("MCP_GARBAGE") == "all" else 11


def key_of(name: str, made: Stage, store: redis.Redis) -> str:
    """Return a key of the session of `ann`, of the first node, or of all, that is documented by a name."""
    if "{in:N}" in name:
        return name.replace("N", made.node)
    found = sorted(key.decode() for key in store.scan_iter() if key_pattern(name).fullmatch(key.decode()))
    mine = [key for key in found if session_key(made.ann.session_id) in key]
    assert found, name
    return str((mine or found)[0])


def read(store: redis.Redis, key: str) -> Any:
    """Return what stands under a key, as far as `odd_contents` wants to know it."""
    match store.type(key):
        case b"hash":
            return store.hgetall(key)
        case b"zset":
            return store.zrange(key, 0, -1, withscores=True)
        case b"stream":
            return store.xrange(key)
    return None


@pytest.mark.parametrize("name", documented())
async def test_what_is_no_value_of_ours_costs_one_record(name: str, store: redis.Redis, made: Stage) -> None:
    key, kind = key_of(name, made, store), {"sorted set": "zset"}.get(documented()[name], documented()[name])
    was_there, real = store.exists(key), read(store, key)
    odd = list(odd_contents(kind, real))
    for what, put in [*of_each_type(kind), *odd[:2], *odd[2::SOME]]:
        try:
            if was_there and store.exists(key):
                store.rename(key, BACKUP)
            store.delete(key)
            put(store, key)
            await made.beat()
            await made.check_owner()
            await made.check_others()
            await made.check_operators()
            store.delete(key)
            if store.exists(BACKUP) and name not in MENDED:
                store.rename(BACKUP, key)
            store.delete(BACKUP)
            await made.check_all_is_as_before()
        except BaseException as error:
            error.add_note(f"{name} ({key}): {what}")
            raise
