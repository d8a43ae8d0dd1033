"""What operators see of a backend: its nodes, and its sessions page by page."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_transport.protocol.session import Session

__all__ = ["NodeRecord", "Page", "StreamRecord"]


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A living node: where it runs, how many POSTs it is serving, and whether it sends clients elsewhere."""

    name: str
    host: str
    pid: int
    calls: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecord:
    """A stream of a session: who writes it, who has its socket, and how far it is."""

    name: str
    writer: str = ""
    """The node that runs its calls; empty for a GET stream, and where that is not known."""
    holder: str = ""
    """The node with the client's socket, as far as any has it."""
    epoch: int = 0
    last: int = 0
    """The number of its newest event."""
    bytes: int = 0
    ended: bool = False
    """Is it over, and kept only for clients that come back?"""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the sessions, last seen first, and how many there are."""

    sessions: tuple[Session, ...]
    total: int
    is_exact: bool = True
    """False where that would have taken too long to find out: there are about this many."""
