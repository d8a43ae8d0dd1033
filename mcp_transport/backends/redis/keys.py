"""The names of everything that is kept in Redis; what stands between braces decides on which slot of a cluster.

All keys of one session have one slot, so that a script can change them together.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Final

__all__ = ["NAMESPACE", "Keys"]

NAMESPACE: Final = "mcp:"
"""What every key begins with, behind the prefix of the project."""

# Of longer names no digest is remembered: clients choose them.
_SHORT: Final = 512

_SUFFIXES: Final = {
    "flights": "r",
    "streams": "t",
    "cancels": "c",
    "state": "d",
    "history": "h",
    "subscriptions": "u",
}


class Keys:
    """Builds key names; `prefix` keeps the projects apart that share one Redis."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}{NAMESPACE}"
        self.nodes = f"{self._prefix}nodes"
        self.bus = f"{self._prefix}bus"
        self.born = f"{self._prefix}born"
        self.sessions = f"{self._prefix}sessions"
        self.words = f"{self._prefix}words"
        self.facts = f"{self._prefix}facts"

    def of_session(self, key: str, *parts: str) -> list[str]:
        """Name a session's record and the named parts beside it."""
        record = f"{self._prefix}{{{key}}}"
        return [record, *(f"{record}:{_SUFFIXES[part]}" for part in parts)]

    def log(self, key: str, stream: str) -> str:
        """Name the log of one stream."""
        return f"{self._prefix}{{{key}}}:l:{stream}"

    def owned(self, caller: str) -> str:
        """Name the index of a caller's sessions: `Session.caller`."""
        return f"{self._prefix}{{{_cached_digest(caller)}}}:s"

    def facet(self, name: str, value: str) -> str:
        """Name the set of the sessions of which something is so; a client's words become no part of it."""
        return f"{self._prefix}facet:{name}:{_cached_digest(value)}"

    def ordered(self, by: str) -> str:
        """Name the sessions in one of `domain.session_query.ORDERS`."""
        return self.sessions if by == "last_seen" else f"{self._prefix}by:{by}"

    def lease(self, node: str) -> str:
        """Name what exists as long as a node lives."""
        return self._of_node(node, "lease")

    def inbox(self, node: str) -> str:
        """Name the messages that wait for a node."""
        return self._of_node(node, "q")

    def waiting(self, node: str) -> str:
        """Name the count of bytes in a node's inbox."""
        return self._of_node(node, "b")

    def own(self, node: str) -> str:
        """Name the streams whose calls a node runs."""
        return self._of_node(node, "own")

    def sweep(self, node: str) -> str:
        """Name the lock on what a dead node has left."""
        return self._of_node(node, "sweep")

    def _of_node(self, node: str, part: str) -> str:
        return f"{self._prefix}{{in:{node}}}:{part}"


def _cached_digest(caller: str) -> str:
    return _remembered_digest(caller) if len(caller) <= _SHORT else _digest(caller)


def _digest(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:26]


_remembered_digest = lru_cache(maxsize=1024)(_digest)  # a caller opens many sessions
