"""A session's record: what the kernel needs to serve a request, and what an operator wants to see."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from mcp_transport.protocol.client_address import caller_block
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["MAX_TIMESTAMP", "InFlightRequest", "Session", "session_key", "short_id", "validated_members"]

MAX_TIMESTAMP: Final = 253_402_300_799.0
"""The last second that has a date, in the year 9999."""


@dataclass(slots=True, kw_only=True)  # not frozen: see `protocol.http`
class Session:
    """A conversation that began with `initialize`; times are seconds since the epoch."""

    key: str
    """The hashed id (`session_key`); the id itself is stored nowhere."""
    protocol_version: str
    principal: str = ""
    """`Principal.binding` of the opener: nobody else may enter."""
    client_info: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    initialized: bool = False
    log_level: str = ""
    user: str = ""
    address: str = ""
    user_agent: str = ""
    node: str = ""
    """The node that served the last request."""
    created: float = 0.0
    last_seen: float = 0.0
    ends: float = 0.0
    """The absolute end, however busy the session is."""
    requests: int = 0
    errors: int = 0
    calls: int = 0
    """Its requests in flight; this and the next are filled in by listings alone."""
    streams: int = 0
    """Its streams that are open, with a socket."""

    @property
    def caller(self) -> str:
        """Return as whose it counts: its principal's, or the address's that an anonymous one was opened from."""
        return self.principal or caller_block(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlightRequest:
    """A request that a node is running."""

    request_id: RequestId
    digest: bytes
    """Of the POST's body: tells a client's retry from a second use of the id."""
    node: str
    stream: str
    operation: str = ""
    """What it asks for: `domain.history.operation_name`."""
    started: float = 0.0
    safe: bool = False
    """May a client send it again after its node died, without fear that it takes effect twice?"""
    body: bytes = b""
    """The request itself, where it is to be run again after its node died."""


_TIMES: Final = ("created", "last_seen", "ends")
_KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("protocol_version", "principal", "log_level", "user", "address", "user_agent", "node"), str),
    **dict.fromkeys(("client_info", "capabilities"), dict),
    **dict.fromkeys(("requests", "errors", "calls", "streams"), int),
    **dict.fromkeys(_TIMES, (int, float)),
    "initialized": bool,
}


def validated_members(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a stored record that this release knows; another one may have written it.

    Raises:
        ValueError: one of them is of a kind that no release has written.
    """
    known = {name: stored[name] for name in _KINDS if name in stored}
    for name, value in known.items():
        if not isinstance(value, _KINDS[name]):
            raise ValueError(f"{name} is {type(value).__name__}")
    if not all(0 <= known.get(name, 0) <= MAX_TIMESTAMP for name in _TIMES):
        raise ValueError("a time is beyond all dates")
    if known.get("protocol_version") not in REVISIONS:
        raise ValueError("protocol_version is not known here")
    return known


@lru_cache(maxsize=4096)  # a client sends its id with each request
def session_key(session_id: str) -> str:
    """Hash a session id into the name it is stored and logged under: 26 characters, 130 bits."""
    return base64.b32encode(hashlib.sha256(session_id.encode()).digest()[:20]).decode()[:26]


def short_id(key: str) -> str:
    """Return what stands for a session in a log line."""
    return key[:10].lower()
