"""The history of a session for operators: events, of which only failures may have the content of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from mcp_transport.domain.session import InFlightRequest
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "MAX_ARGUMENTS",
    "MAX_ERROR",
    "MAX_MESSAGE",
    "NO_ENDINGS",
    "AnyEnding",
    "Ending",
    "Endings",
    "Failure",
    "FailureKind",
    "HistoryEntry",
    "HistoryEvent",
    "ended_entry",
]

MAX_ERROR: Final = 100
MAX_MESSAGE: Final = 1000
MAX_ARGUMENTS: Final = 2000
"""Characters of a failure's fields that are kept; a history has at most as many failures as entries."""


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

    @property
    def ending(self) -> Ending:
        """Return itself, as a `Failure` returns its ending."""
        return self

    @property
    def failure(self) -> None:
        """Return None: nothing else is known."""


class FailureKind(StrEnum):
    """Why a request has no result."""

    TOOL_ERROR = "tool_error"
    """The tool said so: it raised a ToolError, or returned a result with `isError`."""
    EXCEPTION = "exception"
    """Its function raised any other exception."""
    INVALID = "invalid"
    """The arguments or parameters are invalid."""
    UNKNOWN = "unknown"
    """There is no such method, tool, prompt or resource, or the caller may not see it."""
    REFUSED = "refused"
    """A limit was reached, or the circuit breaker of the tool was open: nothing ran."""
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    """The result is larger than MAX_RESULT_BYTES."""
    ERROR = "error"
    """Another JSON-RPC error."""
    BY_CLIENT = "cancelled_by_client"
    BY_STAFF = "cancelled_by_staff"
    SESSION_ENDED = "session_ended"
    """Its session ended, or another node took over its stream."""
    LOST = "lost"
    """Its node stopped or died."""
    GIVEN_UP = "given_up"
    """A second node died while running it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a request without a result ended, and why."""

    ending: Ending
    kind: FailureKind
    error: str = ""
    """The class of the exception or, of a refused request, the limit; empty if neither is known."""
    code: int | None = None
    """The code of the JSON-RPC error, if the client got one."""
    message: str = ""
    """What the client or the log was told, if failures are kept with their payloads."""
    arguments: str = ""
    """The arguments or parameters as JSON, on the same condition."""

    @property
    def is_error(self) -> bool:
        """Return whether it counts as an error of its session."""
        return self.ending.is_error

    @property
    def failure(self) -> Failure:
        """Return itself: an `Ending` has None here."""
        return self


AnyEnding = Ending | Failure
"""How a request ended."""

Endings = Mapping[RequestId, AnyEnding]
"""How requests ended, by their ids."""

NO_ENDINGS: Final[Endings] = MappingProxyType({})


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
    failure: Failure | None = None
    """Why a request has no result, if that is known."""

    @property
    def began(self) -> float:
        """Return when the request began; of another event, when it happened."""
        return self.when - self.seconds

    def repeats(self, older: HistoryEntry) -> bool:
        """Return whether both entries attach to the same stream: a polling client is listed once."""
        return self.what is older.what is HistoryEvent.ATTACHED and self.stream == older.stream


def ended_entry(request: InFlightRequest, ending: AnyEnding, now: float) -> HistoryEntry:
    """Build the entry of a request that ended at `now`."""
    return HistoryEntry(
        when=now,
        what=HistoryEvent.ENDED,
        node=request.node,
        operation=request.operation,
        request_id=request.request_id,
        ending=ending.ending,
        seconds=max(0.0, now - request.started),
        stream=request.stream,
        failure=ending.failure,
    )
