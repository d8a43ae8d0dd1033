"""What the page of a session shows: everything as text, in tables that are shown once or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.template.defaultfilters import filesizeformat, yesno
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from mcp_transport.admin.list_query import STATES
from mcp_transport.domain.history import Ending, HistoryEntry, HistoryEvent
from mcp_transport.domain.session import InFlightRequest, Session, short_id
from mcp_transport.domain.session_query import client_of, state_of
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators.service import SessionDetail
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = [
    "MessageRow",
    "Table",
    "duration",
    "message_line",
    "moment",
    "name_of",
    "pretty",
    "request_id_of",
    "session_row",
    "session_tables",
    "yes_or_no",
]

# Of a payload no more is shown than this.
_MOST_CHARACTERS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text; the first cell of each row is its name."""

    name: str
    title: str
    columns: tuple[str, ...] = ()
    rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """What is told of a message."""

    stream: str
    number: int
    told: list[str]
    payload: str | None = field(default=None, repr=False)  # at DEBUG, Django logs contexts
    """None where it is not to be seen."""

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON can have it."""
        known = {"stream": self.stream, "number": self.number, "told": self.told}
        return known if self.payload is None else {**known, "payload": self.payload}


# -- one by one ------------------------------------------------------------------------------------------


def session_row(session: Session) -> dict[str, Any]:
    """Return what a line of a list shows."""
    return {
        "id": short_id(session.key),
        "key": session.key,
        "client": client_of(session),
        "session": session,
        "state": STATES[state_of(session, time.time())],
        "created": moment(session.created),
        "last_seen": moment(session.last_seen),
    }


def moment(seconds: float) -> datetime | None:
    """Return a time as templates write it; None where there is none."""
    if not seconds:
        return None
    found = datetime.fromtimestamp(seconds, UTC)
    return timezone.localtime(found) if settings.USE_TZ else timezone.make_naive(found)


def duration(seconds: float) -> str:
    """Write how long something took, or takes, to the second."""
    return str(timedelta(seconds=max(0, int(seconds))))


def name_of(request_id: RequestId) -> str:
    """Write the id of a request so that its kind can be told."""
    return json.dumps(request_id)


def request_id_of(text: str) -> RequestId | None:
    """Return the id that `name_of` wrote."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if is_request_id(value) else None


def pretty(value: Any) -> str:
    """Write JSON in many lines."""
    try:
        return json.dumps(value, indent=2)
    except RecursionError:  # as deep as a client likes
        return _("nested too deeply to be shown")


def message_line(message: StreamMessage, *, payloads: bool) -> MessageRow:
    """Return what is told of a message, with its payload only where that may be seen."""
    told = [f"#{message.number}", message.kind]
    if message.request_id is not None:
        told.append(_("request %(id)s") % {"id": name_of(message.request_id)})
    told += [text for text in (message.progress, filesizeformat(message.bytes)) if text]
    payload = _shortened(message.payload) if payloads else None
    return MessageRow(stream=message.stream, number=message.number, told=told, payload=payload)


def _shortened(payload: bytes) -> str:
    text = payload.decode(errors="replace")
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " …"


def _instant(seconds: float) -> str:
    """Write a time to the second."""
    found = moment(seconds)
    if found is None:
        return "-"
    return f"{formats.date_format(found, 'SHORT_DATE_FORMAT')} {found:%H:%M:%S}"


def yes_or_no(value: bool) -> str:
    """Say so in the language of the page."""
    return str(yesno(value))


# -- the page of a session -------------------------------------------------------------------------------


def session_tables(detail: SessionDetail) -> tuple[Table, ...]:
    """Return the tables of a session's page."""
    return (_facts(detail), _calls(detail.flights), _streams(detail), _timeline(detail))


def _facts(detail: SessionDetail) -> Table:
    open_streams = sum(bool(stream.holder) and not stream.ended for stream in detail.streams)
    session = replace(detail.session, calls=len(detail.flights), streams=open_streams)
    rows = [
        [_("Client"), client_of(session)],
        [_("User"), session.user],
        [_("State"), str(STATES[state_of(session, time.time())])],
        [_("Protocol"), session.protocol_version],
        [_("Initialized"), yes_or_no(session.initialized)],
        [_("Node"), session.node],
        [_("Address"), session.address],
        [_("User agent"), session.user_agent],
        [_("Created"), _instant(session.created)],
        [_("Last seen"), _instant(session.last_seen)],
        [_("Ends at the latest"), _instant(session.ends)],
        [_("Requests"), str(session.requests)],
        [_("Errors"), str(session.errors)],
        [_("Log level"), session.log_level],
        [_("Subscriptions"), str(len(detail.subscriptions))],
        [_("Values that tools keep"), ", ".join(detail.state)],
    ]
    return Table(name="facts", title=_("Facts"), rows=[[label, text or "-"] for label, text in rows])


def _calls(flights: Iterable[InFlightRequest]) -> Table:
    # Not the flight itself, which has the request's body: at DEBUG, Django logs contexts.
    rows = [
        [
            name_of(flight.request_id),
            flight.operation or "-",
            duration(time.time() - flight.started),
            flight.node or "-",
            flight.stream or "-",
        ]
        for flight in flights
    ]
    columns = (_("Request"), _("Operation"), _("Age"), _("Node"), _("Stream"))
    return Table(name="calls", title=_("Calls that run"), columns=columns, rows=rows)


def _streams(detail: SessionDetail) -> Table:
    rows = [
        [
            _("GET stream") if stream.name == GET_STREAM else stream.name,
            stream.writer or "-",
            stream.holder or "-",
            str(stream.last),
            filesizeformat(stream.bytes),
            yes_or_no(stream.ended),
        ]
        for stream in detail.streams
    ]
    columns = (_("Name"), _("Writer"), _("Holder"), _("Events"), _("Size"), _("Ended"))
    return Table(name="streams", title=_("Streams"), columns=columns, rows=rows)


def _timeline(detail: SessionDetail) -> Table:
    opened = [_instant(detail.session.created), _("Session opened"), "-", "-", "-", "-"]
    columns = (_("Time"), _("Event"), _("Operation"), _("Request"), _("Seconds"), _("Node"))
    rows = [*(_happened(entry) for entry in detail.history), opened]
    return Table(name="timeline", title=_("Timeline"), columns=columns, rows=rows)


def _happened(entry: HistoryEntry) -> list[str]:
    is_end = entry.what is HistoryEvent.ENDED
    return [
        _instant(entry.when),
        _event(entry),
        entry.operation or entry.stream or "-",
        name_of(entry.request_id) if entry.request_id is not None else "-",
        formats.number_format(round(entry.seconds, 3), 3) if is_end else "-",
        entry.node or "-",
    ]


def _event(entry: HistoryEntry) -> str:
    if entry.what is HistoryEvent.ATTACHED:
        return _("Client attached to a stream")
    if entry.what is HistoryEvent.CLAIMED:
        return _("Taken over from a dead node")
    endings = {
        Ending.OK: pgettext("a request", "Answered"),
        Ending.ERROR: pgettext("a request", "Failed"),
        Ending.CANCELLED: pgettext("a request", "Cancelled"),
        Ending.LOST: pgettext("a request", "Lost with its node"),
        Ending.GIVEN_UP: pgettext("a request", "Given up: two nodes were lost with it"),
    }
    return endings[entry.ending] if entry.ending else pgettext("a request", "Ended")
