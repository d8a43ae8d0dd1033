"""The columns of the session list, the tables of a session's page, and the lines of its messages, all as text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.translation import gettext as _

from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators.records import SessionDetail
from mcp_transport.operators.representation.fields import Table, pick
from mcp_transport.operators.representation.formats import local_time, request_id_text, size
from mcp_transport.operators.representation.kinds import COUNT
from mcp_transport.operators.representation.sessions import PAYLOAD, SESSION, activity_tables, detail_table
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["LIST_COLUMNS", "NUMERIC", "MessageRow", "message_row", "parse_request_id", "session_tables"]

LIST_COLUMNS: Final = pick(
    SESSION,
    *("id", "state", "client", "user", "last_seen", "requests", "errors", "calls", "streams"),
    *("node", "created", "protocol"),
)
NUMERIC: Final = frozenset(column.name for column in LIST_COLUMNS if column.kind is COUNT)
"""The names of the columns of numbers."""

_MAX_PAYLOAD_CHARACTERS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message as a line of a stream's log."""

    stream: str
    number: int
    texts: list[str]
    payload: str | None = field(default=None, repr=False)  # at DEBUG, Django logs contexts
    """None unless the user may see it and has requested it."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON for the page's script."""
        row = {"stream": self.stream, "number": self.number, "texts": self.texts}
        return row if self.payload is None else {**row, "payload": self.payload}


def session_tables(detail: SessionDetail) -> tuple[Table, ...]:
    """Return the tables of a session's page."""
    calls, streams, history = activity_tables(detail, local_time)
    opened = [local_time(detail.session.created) or "-", _("Session opened")]
    history.rows.append([*opened, *["-"] * (len(history.columns) - len(opened))])
    return (detail_table(detail, local_time), calls, streams, history)


def parse_request_id(text: str) -> RequestId | None:
    """Return the request id that a button's form field contains as JSON; None if it is malformed."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if is_request_id(value) else None


def message_row(message: StreamMessage, *, payloads: bool) -> MessageRow:
    """Return a message as a line, with its payload only if `payloads` is true."""
    texts = [f"#{message.number}", message.kind]
    if message.request_id is not None:
        texts.append(_("request %(id)s") % {"id": request_id_text(message.request_id)})
    texts += [text for text in (message.progress, size(message.bytes)) if text]
    payload = _shorten(PAYLOAD.read(message)) if payloads else None
    return MessageRow(stream=message.stream, number=message.number, texts=texts, payload=payload)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_PAYLOAD_CHARACTERS else text[:_MAX_PAYLOAD_CHARACTERS] + " …"
