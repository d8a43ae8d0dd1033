"""The Redis ACL rule with the least privileges for this backend; tests derive the commands from the code."""

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
    "decrby", "del", "eval", "evalsha", "exists", "get", "hdel", "hexists", "hget", "hgetall", "hincrby", "hkeys",
    "hlen", "hmget", "hset", "hstrlen", "hvals", "incrby", "info", "lpush", "lrange", "ltrim", "pexpire", "pttl",
    "sadd", "scard", "set", "smembers", "smismember", "srem", "time", "unlink", "xadd", "xdel", "xlen", "xrange",
    "xread", "xrevrange", "xtrim", "zadd", "zcard", "zcount", "zmscore", "zrandmember", "zrange", "zrangebylex",
    "zrangebyscore", "zrem", "zremrangebyscore", "zrevrangebyscore", "zscore",
)  # fmt: skip
"""The commands of the backend and of its scripts."""

CONNECTION_COMMANDS: Final = ("client|setname", "select")
"""The commands of redis-py when it connects; AUTH needs no permission."""

CLUSTER_COMMANDS: Final = ("asking", "cluster|slots", "command")
"""The additional commands of redis-py's client for a Cluster."""

SENTINEL_COMMANDS: Final = ("client|setname", "sentinel|masters")
"""The commands of redis-py for a sentinel."""

# Revokes all earlier permissions, also those of selectors; the password is kept.
_REVOKE_ALL: Final = "resetkeys resetchannels clearselectors -@all"
# Characters with a meaning in key patterns or in redis-cli.
_SPECIAL: Final = r"""[\s*?\[\]\\'"]"""


def acl_rule(prefix: str = "", *, cluster: bool = False, user: str = "mcp") -> str:
    """Return the command that grants a user only these permissions; `prefix` is the prefix of every key."""
    granted = sorted({*COMMANDS, *CONNECTION_COMMANDS, *(CLUSTER_COMMANDS if cluster else ())})
    # "?" matches any single character.
    pattern = f"{re.sub(_SPECIAL, '?', prefix)}{NAMESPACE}*"
    return _rule(user, f"~{pattern}", *(f"+{name}" for name in granted))


def sentinel_acl_rule() -> str:
    """Return the command that grants a user of a sentinel, which has no keys, only these permissions."""
    return _rule("mcp", *(f"+{name}" for name in SENTINEL_COMMANDS))


def _rule(user: str, *permissions: str) -> str:
    return " ".join(["ACL SETUSER", user, _REVOKE_ALL, *permissions])
