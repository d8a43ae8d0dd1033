"""What operators see of a backend: its nodes, and its sessions page by page."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_transport.protocol.session import Session

__all__ = ["NodeRecord", "Page"]


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A living node: where it runs, how many POSTs it is serving, and whether it sends clients elsewhere."""

    name: str
    host: str
    pid: int
    calls: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the sessions, last seen first, and how many there are."""

    sessions: tuple[Session, ...]
    total: int
    is_exact: bool = True
    """False where that would have taken too long to find out: there are about this many."""
