"""The rights that a Redis user needs for this backend, and no more; tests derive the commands from the code."""

from __future__ import annotations

import re
from typing import Final

from mcp_transport.backends.redis.keys import NAMESPACE

__all__ = [
    "CLUSTER_COMMANDS",
    "COMMANDS",
    "CONNECTION_COMMANDS",
    "SENTINEL_COMMANDS",
    "acl_rule",
    "sentinel_acl_rule",
]

COMMANDS: Final = (
    "decrby",
    "del",
    "eval",
    "evalsha",
    "exists",
    "get",
    "hdel",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hkeys",
    "hlen",
    "hmget",
    "hset",
    "hstrlen",
    "hvals",
    "incrby",
    "info",
    "lpush",
    "lrange",
    "ltrim",
    "pexpire",
    "pttl",
    "sadd",
    "scard",
    "set",
    "smembers",
    "smismember",
    "srem",
    "time",
    "unlink",
    "xadd",
    "xdel",
    "xlen",
    "xrange",
    "xread",
    "xrevrange",
    "xtrim",
    "zadd",
    "zcard",
    "zcount",
    "zmscore",
    "zrandmember",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrem",
    "zremrangebyscore",
    "zrevrangebyscore",
    "zscore",
)
"""What the backend sends, itself or from a script."""

CONNECTION_COMMANDS: Final = ("client|setname", "select")
"""What redis-py sends when it connects; AUTH needs no right."""

CLUSTER_COMMANDS: Final = ("asking", "cluster|slots", "command")
"""What redis-py's client of a Cluster sends besides."""

SENTINEL_COMMANDS: Final = ("client|setname", "sentinel|masters")
"""What redis-py asks of a sentinel."""

# What was granted before is taken back, further sets of rights ("selectors") included; the password stays.
_NOTHING: Final = "resetkeys resetchannels clearselectors -@all"
_ODD: Final = r"""[\s*?\[\]\\'"]"""


def acl_rule(prefix: str = "", *, cluster: bool = False, user: str = "mcp") -> str:
    """Return the command that gives a user these rights alone; `prefix` is what every key begins with."""
    granted = sorted({*COMMANDS, *CONNECTION_COMMANDS, *(CLUSTER_COMMANDS if cluster else ())})
    # A question mark stands for what a pattern, or redis-cli, would take for something else.
    pattern = f"{re.sub(_ODD, '?', prefix)}{NAMESPACE}*"
    return _rule(user, f"~{pattern}", *(f"+{name}" for name in granted))


def sentinel_acl_rule() -> str:
    """Return the command that gives a user of a sentinel, which has no keys, these rights alone."""
    return _rule("mcp", *(f"+{name}" for name in SENTINEL_COMMANDS))


def _rule(user: str, *rights: str) -> str:
    return " ".join(["ACL SETUSER", user, _NOTHING, *rights])
