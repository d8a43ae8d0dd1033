"""The history of a session for operators: events without any content of messages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mcp_transport.domain.session import InFlightRequest
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["Ending", "HistoryEntry", "HistoryEvent", "ended_entry"]


class Ending(StrEnum):
    """The outcome of a request."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its node stopped or died; the client got an error."""
    GIVEN_UP = "given_up"
    """A second node died while running it, so it is not run again; the client got an error."""

    @property
    def is_error(self) -> bool:
        """Return whether it counts as an error of its session."""
        return self in (Ending.ERROR, Ending.LOST, Ending.GIVEN_UP)


class HistoryEvent(StrEnum):
    """The kind of a history entry."""

    ENDED = "ended"
    """A request was answered or cancelled."""
    ATTACHED = "attached"
    """A client connected to a stream: its GET stream, or that of a call that it resumes."""
    CLAIMED = "claimed"
    """A node took over the calls of a dead one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """An event in a session; times are seconds since the epoch."""

    when: float
    what: HistoryEvent
    node: str
    operation: str = ""
    request_id: RequestId | None = None
    ending: Ending | None = None
    seconds: float = 0.0
    """The duration of the request."""
    stream: str = ""

    def repeats(self, older: HistoryEntry) -> bool:
        """Return whether both entries attach to the same stream: a polling client is listed once."""
        return self.what is older.what is HistoryEvent.ATTACHED and self.stream == older.stream


def ended_entry(request: InFlightRequest, ending: Ending, now: float) -> HistoryEntry:
    """Build the entry of a request that ended at `now`."""
    return HistoryEntry(
        when=now,
        what=HistoryEvent.ENDED,
        node=request.node,
        operation=request.operation,
        request_id=request.request_id,
        ending=ending,
        seconds=max(0.0, now - request.started),
        stream=request.stream,
    )
