"""What an auditor wants to know: who did what, when, and how it ended. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_transport.domain.principal import Principal

__all__ = ["AccessDenied", "AuditEvent", "SessionClosed", "SessionOpened", "ToolCalled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """A session began."""

    when: float
    principal: Principal
    session: str
    """Its short id, as in logs; it opens nothing."""
    address: str = ""
    client: str = ""
    """What the client calls itself; nobody has proved it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed:
    """A session was ended; one that expires is ended by nobody, and not told of."""

    when: float
    principal: Principal
    """Whose session it was."""
    session: str
    reason: str
    """`client`: by DELETE; `limit`: it made room for another one of the same principal; `staff`: by an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """A call of a tool ended."""

    when: float
    principal: Principal
    tool: str
    outcome: str
    """`ok`, `error` or `cancelled`."""
    seconds: float
    session: str = ""
    """Empty for a request that stood alone."""
    address: str = ""
    arguments: Mapping[str, Any] | None = field(default=None, repr=False)
    """None unless the settings ask for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDenied:
    """A request was refused for what it was, or was not, allowed to do."""

    when: float
    reason: str
    principal: Principal
    """Anonymous where nobody was recognised."""
    address: str = ""
    operation: str = ""
    """The HTTP method or, where it was known by then, the method of MCP."""
    name: str = ""
    """The tool, resource or prompt that was asked for."""


AuditEvent = SessionOpened | SessionClosed | ToolCalled | AccessDenied
