"""What requests record in memory, for the next heartbeat to write to Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mcp_transport.domain.session import Session

__all__ = ["IndexChanges"]


@dataclass(slots=True)
class IndexChanges:
    """Changes to the index of sessions, and to their histories."""

    opened: dict[str, Session] = field(default_factory=dict)
    used: dict[str, Session] = field(default_factory=dict)
    """Records as the last request here has left them."""
    touched: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By session, its caller and when it was touched, in milliseconds."""
    errors: dict[str, int] = field(default_factory=dict)
    """By session, how many of its requests have ended in an error."""
    initialized: set[str] = field(default_factory=set)
    notes: list[tuple[str, list[Any]]] = field(default_factory=list)
    """Sessions, and the arguments of `note.lua` for requests that were not admitted to them."""
