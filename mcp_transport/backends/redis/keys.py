"""The names of all keys in Redis.

The part in braces determines a key's slot in a Redis Cluster. All keys of one session are in one slot, so that a
script can change them together.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

__all__ = ["NAMESPACE", "Keys", "session_keys"]

NAMESPACE: Final = "mcp:"
"""The start of every key, after the project's prefix."""

# Digests of longer texts are not cached: clients choose these texts.
_MAX_CACHED_CHARACTERS: Final = 512

# The ends of a session's keys; that of a log continues with the stream.
_SUFFIXES: Final = {
    "record": "",
    "requests": ":r",
    "streams": ":t",
    "cancels": ":c",
    "state": ":d",
    "history": ":h",
    "subscriptions": ":u",
    "log": ":l:",
}


@lru_cache(maxsize=1024)  # a session has many requests
def session_keys(prefix: str, key: str) -> Mapping[str, str]:
    """Return the keys of a session's record and of the parts beside it, by part."""
    return {part: f"{prefix}{{{key}}}{suffix}" for part, suffix in _SUFFIXES.items()}


class Keys:
    """Builds key names; `prefix` separates projects that share one Redis."""

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{prefix}{NAMESPACE}"
        self.nodes = f"{self.prefix}nodes"
        self.broadcasts = f"{self.prefix}bus"
        self.store_created_at = f"{self.prefix}born"
        self.sessions = f"{self.prefix}sessions"
        self.search_terms = f"{self.prefix}words"
        self.index_entries = f"{self.prefix}facts"

    def of_session(self, key: str, part: str = "record") -> str:
        """Return the key of a session's record, or of a part beside it."""
        return session_keys(self.prefix, key)[part]

    def log(self, key: str, stream: str) -> str:
        """Return the key of one stream's log."""
        return self.of_session(key, "log") + stream

    def sessions_of(self, caller: str) -> str:
        """Return the key of the index of a caller's sessions (`Session.caller`)."""
        return f"{self.prefix}{{{_digest_of(caller)}}}:s"

    def rate_bucket(self, bucket: str) -> str:
        """Return the key of a bucket of a rate limit; clients choose a part of its name."""
        return f"{self.prefix}rate:{_digest_of(bucket)}"

    def facet(self, name: str, value: str) -> str:
        """Return the key of the set of sessions that have a value; it has a digest, since clients choose values."""
        return f"{self.prefix}facet:{name}:{_digest_of(value)}"

    def indexed_values(self, name: str) -> str:
        """Return the key of the values that sessions have had, the latest last, for the filter `name`."""
        return f"{self.prefix}values:{name}"

    def ordered(self, by: str) -> str:
        """Return the key of the sessions sorted by one of `domain.session_query.ORDERS`."""
        return self.sessions if by == "last_seen" else f"{self.prefix}by:{by}"

    def lease(self, node: str) -> str:
        """Return the key of a node's lease, which exists as long as the node lives."""
        return self._of_node(node, "lease")

    def inbox(self, node: str) -> str:
        """Return the key of a node's inbox: the messages that wait for it."""
        return self._of_node(node, "q")

    def inbox_bytes(self, node: str) -> str:
        """Return the key of the number of bytes in a node's inbox."""
        return self._of_node(node, "b")

    def journal(self, node: str) -> str:
        """Return the key of a node's journal: the streams whose calls it runs."""
        return self._of_node(node, "own")

    def sweep_lock(self, node: str) -> str:
        """Return the key of the lock for the sweep of a dead node's streams."""
        return self._of_node(node, "sweep")

    def _of_node(self, node: str, part: str) -> str:
        return f"{self.prefix}{{in:{node}}}:{part}"


def _digest_of(text: str) -> str:
    return _cached_digest(text) if len(text) <= _MAX_CACHED_CHARACTERS else _digest(text)


def _digest(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:26]


_cached_digest = lru_cache(maxsize=1024)(_digest)  # a caller opens many sessions
