"""The fields of sessions, running calls, streams, messages and history.

None of them is a credential. Of what a client sent, they contain only its own name and those of its requests; the
contents of messages are in `PAYLOAD`, which requires a permission.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import attrgetter
from typing import Final

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from mcp_transport.backends.records import StreamRecord
from mcp_transport.domain.history import Ending, Failure, FailureKind, HistoryEntry, HistoryEvent
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import InFlightRequest, Session, short_id
from mcp_transport.domain.session_query import State, client_of, state_of
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators.records import SessionDetail
from mcp_transport.operators.representation import kinds
from mcp_transport.operators.representation.fields import Field, Label, Table, detail_rows, pick, records, table
from mcp_transport.operators.representation.kinds import Kind
from mcp_transport.protocol.cursor import GET_STREAM

__all__ = [
    "CALL",
    "DETAIL",
    "DETAIL_WITH_PAYLOADS",
    "FAILURES",
    "HISTORY",
    "HISTORY_PAYLOAD",
    "MESSAGE",
    "PAYLOAD",
    "SESSION",
    "STATE",
    "STATE_LABELS",
    "STREAM",
    "activity_tables",
    "detail_table",
    "ending_text",
    "failure_text",
    "stream_operations",
    "streams_table",
]

STATE_LABELS: Final[dict[State, Label]] = {
    State.BUSY: pgettext_lazy("a session", "busy"),
    State.OPENING: pgettext_lazy("a session", "opening"),
    State.ACTIVE: pgettext_lazy("a session", "active"),
    State.IDLE: pgettext_lazy("a session", "idle"),
}
_EVENTS: Final[dict[HistoryEvent, Label]] = {
    HistoryEvent.ENDED: pgettext_lazy("a request", "Ended"),
    HistoryEvent.ATTACHED: _("Client attached to a stream"),
    HistoryEvent.CLAIMED: _("Taken over from a dead node"),
}
_ENDINGS: Final[dict[Ending, Label]] = {
    Ending.OK: pgettext_lazy("a request", "Answered"),
    Ending.ERROR: pgettext_lazy("a request", "Failed"),
    Ending.CANCELLED: pgettext_lazy("a request", "Cancelled"),
    Ending.LOST: pgettext_lazy("a request", "Lost with its node"),
    Ending.GIVEN_UP: pgettext_lazy("a request", "Given up: two nodes were lost with it"),
}

FAILURES: Final[dict[FailureKind, Label]] = {
    FailureKind.TOOL_ERROR: _("The tool reported an error"),
    FailureKind.EXCEPTION: _("The function raised an exception"),
    FailureKind.INVALID: _("Invalid arguments"),
    FailureKind.UNKNOWN: _("Unknown, or not visible to the caller"),
    FailureKind.REFUSED: _("Refused by a limit"),
    FailureKind.TIMEOUT: _("Timed out"),
    FailureKind.TOO_LARGE: _("The result is too large"),
    FailureKind.ERROR: _("JSON-RPC error"),
    FailureKind.BY_CLIENT: _("Cancelled by the client"),
    FailureKind.BY_STAFF: _("Cancelled by staff"),
    FailureKind.SESSION_ENDED: _("The session ended"),
    FailureKind.LOST: _("Its node stopped or was lost"),
    FailureKind.GIVEN_UP: _("Two nodes were lost while running it"),
}
"""Why a request has no result."""

_ERROR_NOTE: Final = "The class of the exception or, of a refused request, the limit; empty if unknown."
_OPERATION_NOTE: Final = "The method and, for a tool or a prompt, its name."
_VISIBLE: Final = "As far as the answering process can see them."

STATE: Final = Kind(kinds.choice(State), lambda state: str(STATE_LABELS[state]))
_KEY: Final = Kind({"type": "string", "pattern": "^[A-Z2-7]{26}$"})
_STREAM_NAME: Final = Kind(kinds.TEXT.schema, lambda name: str(_("GET stream")) if name == GET_STREAM else name)

SESSION: Final[tuple[Field[Session], ...]] = (
    Field("id", _("ID"), kinds.TEXT, lambda session: short_id(session.key), "Short session ID (not a credential)."),
    Field("key", _("Key"), _KEY, note="Hash of the session ID (not a credential)."),
    Field("user", _("User")),
    Field(
        "issuer",
        _("Issuer"),
        kinds.TEXT,
        lambda session: Principal.from_binding(session.principal).issuer,
        "The issuer that authenticated the caller; empty for an anonymous one.",
    ),
    Field(
        "subject",
        _("Subject"),
        kinds.TEXT,
        lambda session: Principal.from_binding(session.principal).subject,
        "The issuer's identifier of the caller.",
    ),
    Field("client", _("Client"), kinds.TEXT, client_of, "The name and version that the client reports."),
    Field("protocol", _("Protocol"), kinds.TEXT, attrgetter("protocol_version")),
    Field("initialized", _("Initialized"), kinds.FLAG),
    Field(
        "state",
        _("State"),
        STATE,
        lambda session: state_of(session, time.time()),
        "The first that applies; `active`: used within the last minute.",
    ),
    Field("address", _("Address")),
    Field("user_agent", _("User agent")),
    Field("node", _("Node"), note="The node that served the last request."),
    Field("region", _("Home region"), note="Where the session is stored; empty if the deployment names no region."),
    Field("created", _("Created"), kinds.TIME),
    Field("last_seen", _("Last seen"), kinds.TIME),
    Field("ends", _("Expires"), kinds.TIME, note="When the session expires, even if it is in use."),
    Field("requests", _("Requests"), kinds.COUNT),
    Field("errors", _("Errors"), kinds.COUNT),
    Field("calls", _("Calls"), kinds.COUNT, note="The number of requests in flight."),
    Field("streams", _("Streams"), kinds.COUNT, note="The number of streams to which a client is connected."),
)

CALL: Final[tuple[Field[InFlightRequest], ...]] = (
    Field("request_id", _("Request"), kinds.REQUEST_ID),
    Field("operation", _("Operation"), note=_OPERATION_NOTE),
    Field("node", _("Node")),
    Field("started", _("Started"), kinds.TIME),
    Field("safe", _("Safe to retry"), kinds.FLAG, note="Can it be sent again without taking effect twice?"),
)
_CALL_COLUMNS: Final[tuple[Field[InFlightRequest], ...]] = (
    *pick(CALL, "request_id", "operation"),
    Field("age", _("Age"), kinds.DURATION, lambda call: time.time() - call.started),
    *pick(CALL, "node"),
    Field("stream", _("Stream"), _STREAM_NAME),
)

STREAM: Final[tuple[Field[StreamRecord], ...]] = (
    Field("name", _("Name"), _STREAM_NAME),
    Field("writer", _("Produced by"), note="The node that runs the stream's calls."),
    Field("holder", _("Client connected to"), note="The node with the client's socket."),
    Field("last", _("Events"), kinds.COUNT, note="The number of its newest event."),
    Field("bytes", _("Size"), kinds.BYTES),
    Field("ended", _("Ended"), kinds.FLAG),
)


def _event_label(entry: HistoryEntry) -> Label:
    return ending_text(entry) if entry.failure is None else failure_text(entry.failure)


def ending_text(entry: HistoryEntry) -> str:
    """Return what happened, without the reason."""
    return str(_ENDINGS[entry.ending] if entry.ending else _EVENTS[entry.what])


def failure_text(failure: Failure) -> str:
    """Say in one line why a request has no result."""
    details = [failure.error, "" if failure.code is None else str(failure.code)]
    return ": ".join([str(FAILURES[failure.kind]), *filter(None, [", ".join(filter(None, details))])])


HISTORY: Final[tuple[Field[HistoryEntry], ...]] = (
    Field("when", _("Time"), kinds.TIME),
    Field("what", _("Event"), Kind(kinds.choice(HistoryEvent))),
    Field("operation", _("Operation"), note=_OPERATION_NOTE),
    Field("request_id", _("Request"), kinds.NULLABLE_REQUEST_ID),
    Field("ending", _("Ending"), Kind({"enum": [*Ending, None]})),
    Field(
        "seconds",
        _("Seconds"),
        kinds.SECONDS,
        lambda entry: entry.seconds if entry.what is HistoryEvent.ENDED else None,
        "How long the request ran; null for other events.",
    ),
    Field("node", _("Node")),
    Field("stream", _("Stream"), _STREAM_NAME),
    Field(
        "failure",
        _("Why"),
        Kind({"enum": [*FailureKind, None]}),
        lambda entry: None if entry.failure is None else entry.failure.kind,
        "Why there is no result; null if there is one, or if it is unknown.",
    ),
    Field("error", _("Error"), kinds.TEXT, lambda entry: entry.failure.error if entry.failure else "", _ERROR_NOTE),
    Field(
        "code",
        _("Code"),
        Kind({"type": ["integer", "null"]}),
        lambda entry: entry.failure.code if entry.failure else None,
        "The code of the JSON-RPC error, if the client got one.",
    ),
)
HISTORY_PAYLOAD: Final[tuple[Field[HistoryEntry], ...]] = (
    Field(
        "message",
        _("Message"),
        kinds.TEXT,
        lambda entry: entry.failure.message if entry.failure else "",
        "What the client or the log was told of a failure, if `FAILURE_PAYLOADS` is on and it was requested.",
    ),
    Field(
        "arguments",
        _("Arguments"),
        kinds.TEXT,
        lambda entry: entry.failure.arguments if entry.failure else "",
        "The arguments as JSON, on the same conditions; long ones are cut.",
    ),
)
_HISTORY_COLUMNS: Final[tuple[Field[HistoryEntry], ...]] = (
    *pick(HISTORY, "when"),
    Field("event", _("Event"), kinds.TEXT, _event_label),
    *pick(HISTORY, "operation", "request_id", "seconds", "node", "stream"),
)

MESSAGE: Final[tuple[Field[StreamMessage], ...]] = (
    Field("stream", _("Stream"), _STREAM_NAME),
    Field("number", _("Number"), kinds.COUNT),
    Field("when", _("Time"), kinds.NULLABLE_TIME, note="When it was stored, within a second; null if unknown."),
    Field("kind", _("Kind"), note="A method; or `result`, `error`, `tool error`, `end`, `unreadable`."),
    Field("request_id", _("Request"), kinds.NULLABLE_REQUEST_ID),
    Field("progress", _("Progress"), note="The progress of a call: `3 of 10`."),
    Field("bytes", _("Size"), kinds.BYTES),
)
PAYLOAD: Final[Field[StreamMessage]] = Field(
    "payload",
    _("Payload"),
    kinds.TEXT,
    lambda message: message.payload.decode(errors="replace"),
    "The message itself, if it was requested.",
)


def _of_session(field: Field[Session]) -> Field[SessionDetail]:
    return Field(field.name, field.label, field.kind, lambda detail: field.read(detail.session), field.note)


DETAIL: Final[tuple[Field[SessionDetail], ...]] = (
    *(_of_session(field) for field in SESSION if field.name not in ("calls", "streams")),
    Field("client_info", _("Client info"), kinds.OBJECT, attrgetter("session.client_info")),
    Field("capabilities", _("Capabilities"), kinds.OBJECT, attrgetter("session.capabilities")),
    Field("log_level", _("Log level"), kinds.TEXT, attrgetter("session.log_level")),
    Field("subscriptions", _("Subscriptions"), kinds.TEXTS, note="URIs of resources."),
    Field("calls", _("Running calls"), records(CALL, "Call"), note=_VISIBLE),
    Field("streams", _("Streams"), records(STREAM, "Stream"), note=_VISIBLE),
    Field("values", _("Session state keys"), kinds.TEXTS, attrgetter("state_keys"), "Names, not values."),
    Field("history", _("Session history"), records(HISTORY, "HistoryEntry"), note=f"The newest first. {_VISIBLE}"),
)
DETAIL_WITH_PAYLOADS: Final = tuple(
    Field(field.name, field.label, records((*HISTORY, *HISTORY_PAYLOAD)), note=field.note)
    if field.name == "history"
    else field
    for field in DETAIL
)
"""The same, with the messages and arguments of failed requests."""
_DETAIL_ROWS: Final = pick(
    DETAIL,
    *(
        "id",
        "client",
        "user",
        "state",
        "protocol",
        "initialized",
        "node",
        "region",
        "address",
        "user_agent",
        "created",
    ),
    *("last_seen", "ends", "requests", "errors", "log_level", "subscriptions", "values"),
)


def detail_table(detail: SessionDetail, write_time: Callable[[float], str]) -> Table:
    """Return the table that describes a session."""
    shown = [field for field in _DETAIL_ROWS if field.name != "region" or detail.session.region]
    return Table(name="details", title=str(_("Details")), rows=detail_rows(shown, detail, write_time))


def activity_tables(
    detail: SessionDetail, write_time: Callable[[float], str], *, payloads: bool = False
) -> tuple[Table, Table, Table]:
    """Return the tables of a session's running calls, streams and history; what failed calls say, with `payloads`."""
    columns = (*_HISTORY_COLUMNS, *HISTORY_PAYLOAD) if payloads else _HISTORY_COLUMNS
    return (
        table("calls", _("Running calls"), _CALL_COLUMNS, detail.calls),
        streams_table(detail),
        table("history", _("Session history"), columns, detail.history, write_time),
    )


def streams_table(detail: SessionDetail) -> Table:
    """Return the table of a session's streams, each with the operation of its call."""
    operations = stream_operations(detail)
    operation: Field[StreamRecord] = Field(
        "operation", _("Call"), value=lambda stream: operations.get(stream.name, "")
    )
    name, *others = STREAM
    return table("streams", _("Streams"), (operation, name, *others), detail.streams)


def stream_operations(detail: SessionDetail) -> dict[str, str]:
    """Return what the call of each stream is, by the name of the stream: its operation and its id."""
    requests: list[HistoryEntry | InFlightRequest] = [*reversed(detail.history), *detail.calls]
    return {
        item.stream: f"{item.operation} {kinds.REQUEST_ID.text(item.request_id)}"
        for item in requests
        if item.stream and item.operation
    }
