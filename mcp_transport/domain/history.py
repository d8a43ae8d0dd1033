"""What happened in a session, as an operator is told of it; never what was said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from mcp_transport.domain.session import InFlightRequest
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["Ending", "HistoryEntry", "HistoryEvent", "ended_entry", "operation_name"]

# What a client calls things is shown to operators, cut to so many characters.
_MAX_NAME: Final = 100
# Their `name` is declared by the server; a URI may hold what is nobody else's business.
_NAMED: Final = ("tools/call", "prompts/get")


class Ending(StrEnum):
    """How a request ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its node stopped or died, and the client was told so."""
    GIVEN_UP = "given_up"
    """A second node died that ran it, so it is not run again, and the client was told so."""

    @property
    def is_error(self) -> bool:
        """Tell whether it counts as an error of its session."""
        return self in (Ending.ERROR, Ending.LOST, Ending.GIVEN_UP)


class HistoryEvent(StrEnum):
    """What an entry tells of."""

    ENDED = "ended"
    """A request was answered, or cancelled."""
    ATTACHED = "attached"
    """A client's socket took a stream: it listens, or comes back to a call."""
    CLAIMED = "claimed"
    """A node went on with what a dead one had begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """Something that happened in a session; times are seconds since the epoch."""

    when: float
    what: HistoryEvent
    node: str
    operation: str = ""
    request_id: RequestId | None = None
    ending: Ending | None = None
    seconds: float = 0.0
    """How long the request ran."""
    stream: str = ""

    def repeats(self, older: HistoryEntry) -> bool:
        """Tell whether the same socket's stream was taken again: a client that polls is told of once."""
        return self.what is older.what is HistoryEvent.ATTACHED and self.stream == older.stream


def operation_name(method: str, params: Mapping[str, Any] | None) -> str:
    """Name what a request asks for: its method and, where these name a declared thing, that name."""
    name = (params or {}).get("name") if method in _NAMED else None
    return f"{method} {name}"[:_MAX_NAME] if isinstance(name, str) and name else method[:_MAX_NAME]


def ended_entry(flight: InFlightRequest, ending: Ending, now: float) -> HistoryEntry:
    """Tell how a request ended, `now`."""
    return HistoryEntry(
        when=now,
        what=HistoryEvent.ENDED,
        node=flight.node,
        operation=flight.operation,
        request_id=flight.request_id,
        ending=ending,
        seconds=max(0.0, now - flight.started),
        stream=flight.stream,
    )
