"""The record of a session, and of a request in flight."""

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
"""The last second that `datetime` can represent, in the year 9999."""


@dataclass(slots=True, kw_only=True)  # not frozen: see `protocol.http`
class Session:
    """A session, which `initialize` opens; times are seconds since the epoch."""

    key: str
    """The hash of the session id (`session_key`); the id itself is never stored."""
    protocol_version: str
    principal: str = ""
    """`Principal.binding` of the owner: requests of other principals get 404."""
    client_info: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    initialized: bool = False
    log_level: str = ""
    user: str = ""
    address: str = ""
    user_agent: str = ""
    node: str = ""
    """The node that served the last request."""
    region: str = ""
    """The home region, in whose store the session is; empty if the deployment has one region."""
    created: float = 0.0
    last_seen: float = 0.0
    ends: float = 0.0
    """The absolute expiry, even if the session is in use."""
    requests: int = 0
    errors: int = 0
    calls: int = 0
    """Requests in flight; only listings fill in this and `streams`."""
    streams: int = 0
    """Open streams with a client connected."""

    @property
    def caller(self) -> str:
        """Return the caller whose limits the session counts against: its principal or, if anonymous, its address."""
        return self.principal or caller_block(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlightRequest:
    """A request that a node is running."""

    request_id: RequestId
    digest: bytes
    """The hash of the POST body; distinguishes a client's retry from a second use of the id."""
    node: str
    stream: str
    operation: str = ""
    """See `domain.history.operation_name`."""
    started: float = 0.0
    safe: bool = False
    """May a client retry it after its node died, since running it twice has no further effect?"""
    body: bytes = b""
    """The request itself, if another node shall run it again after its node died."""


_TIMES: Final = ("created", "last_seen", "ends")
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("protocol_version", "principal", "log_level", "user", "address", "user_agent"), str),
    **dict.fromkeys(("node", "region"), str),
    **dict.fromkeys(("client_info", "capabilities"), dict),
    **dict.fromkeys(("requests", "errors", "calls", "streams"), int),
    **dict.fromkeys(_TIMES, (int, float)),
    "initialized": bool,
}


def validated_members(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a stored record that this release supports; another release may have written it.

    Raises:
        ValueError: a member has an invalid type or value.
    """
    members = {name: stored[name] for name in _TYPES if name in stored}
    for name, value in members.items():
        if not isinstance(value, _TYPES[name]):
            raise ValueError(f"{name} is {type(value).__name__}")
    if not all(0 <= members.get(name, 0) <= MAX_TIMESTAMP for name in _TIMES):
        raise ValueError("a timestamp is out of range")
    if members.get("protocol_version") not in REVISIONS:
        raise ValueError("protocol_version is not supported by this release")
    return members


@lru_cache(maxsize=4096)  # a client sends its id with each request
def session_key(session_id: str) -> str:
    """Return the hash of a session id, under which the session is stored: 26 characters, 130 bits."""
    return base64.b32encode(hashlib.sha256(session_id.encode()).digest()[:20]).decode()[:26]


def short_id(key: str) -> str:
    """Return the short session id of log lines."""
    return key[:10].lower()
