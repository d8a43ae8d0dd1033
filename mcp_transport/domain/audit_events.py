"""Audit events: who did what, when, and how it ended. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_transport.domain.principal import Principal

__all__ = ["AccessDenied", "AuditEvent", "SessionClosed", "SessionOpened", "ToolCalled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """A session was opened."""

    when: float
    principal: Principal
    session: str
    """The short session id, as in logs; not a credential."""
    address: str = ""
    client: str = ""
    """The name and version that the client claims; not verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed:
    """A session was ended; there is no event for a session that expires."""

    when: float
    principal: Principal
    """The owner of the session."""
    session: str
    reason: str
    """`client`: DELETE; `limit`: evicted at the session limit of its principal; `staff`: ended by an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """A tool call ended."""

    when: float
    principal: Principal
    tool: str
    outcome: str
    """`ok`, `error` or `cancelled`."""
    seconds: float
    session: str = ""
    """Empty for a sessionless request."""
    request: str = ""
    """The id of the request as JSON."""
    node: str = ""
    """The node that ran or refused it."""
    kind: str = ""
    """Why there is no result: a `FailureKind`; empty for `ok`."""
    error: str = ""
    """The class of the exception or, of a refused call, the limit."""
    code: int | None = None
    """The code of the JSON-RPC error, if the client got one."""
    message: str = field(default="", repr=False)
    """What the client or the log was told; empty unless the settings enable it."""
    address: str = ""
    arguments: Mapping[str, Any] | None = field(default=None, repr=False)
    """None unless the settings enable them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDenied:
    """A request was refused for lack of authentication or authorization."""

    when: float
    reason: str
    principal: Principal
    """Anonymous if the caller was not authenticated."""
    address: str = ""
    operation: str = ""
    """The MCP method, or the HTTP method if the body was not read."""
    name: str = ""
    """The requested tool, resource or prompt."""


AuditEvent = SessionOpened | SessionClosed | ToolCalled | AccessDenied
