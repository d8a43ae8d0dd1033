"""Keys in Redis that never expire: each needs a reason, since what expires cannot be left behind for good."""

from __future__ import annotations

import time
from typing import Final

from tests.support.redis.server import RedisServer

PERMANENT: Final = {
    "mcp:nodes": "holds only live nodes: each sweep removes the dead ones",
    "mcp:born": "the time since which this Redis has not been emptied: without it, every session would be rebuilt",
}
OF_TESTS: Final = {"mcp:hand": "the time of a clock that tests advance"}

SECONDS: Final = 5.0
"""How long a node may take between the command that writes a key and the one that makes it expire."""

PAUSE: Final = 0.2


def permanent_keys(redis: RedisServer) -> set[str]:
    """Return the keys of this package that have no end and no reason; it has no rights to other keys."""
    with redis.connect(decode_responses=False) as client:
        raw = [*client.scan_iter(match="*mcp:*", count=1000)]  # the cache alias may have a prefix
        pipeline = client.pipeline(transaction=False)
        for name in raw:
            pipeline.pttl(name)
        ends = pipeline.execute()  # -1: no end; -2: gone in the meantime
    names = {name.decode(errors="replace") for name, end in zip(raw, ends, strict=True) if end == -1}
    excused = PERMANENT.keys() | OF_TESTS.keys()
    return {name for name in names if name[name.index("mcp:") :] not in excused}


def refuse_permanent_keys(redis: RedisServer) -> None:
    """Fail when a key without a reason to stay does not expire; nodes may still be at work.

    A server that does not answer has no keys to look at.
    """
    if not (redis.alive and redis.ping()):
        return
    deadline = time.monotonic() + SECONDS
    while found := permanent_keys(redis):
        assert time.monotonic() < deadline, f"keys that never expire: {sorted(found)[:10]}"
        time.sleep(PAUSE)
