"""The page of a session: its tables, and its timeline of requests and messages, all as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.translation import gettext as _

from mcp_transport.domain.history import Ending, HistoryEntry, HistoryEvent
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators.records import SessionDetail
from mcp_transport.operators.representation.fields import Field, Table, table
from mcp_transport.operators.representation.formats import (
    duration,
    exact_time,
    iso_time,
    number,
    request_id_text,
    size,
)
from mcp_transport.operators.representation.sessions import (
    CALL,
    PAYLOAD,
    SESSION,
    detail_table,
    ending_text,
    failure_text,
    stream_operations,
    streams_table,
)
from mcp_transport.protocol.cursor import GET_STREAM

__all__ = [
    "Item",
    "Waits",
    "call_name",
    "calls_table",
    "merged",
    "message_items",
    "moments",
    "request_items",
    "session_tables",
    "update_waits",
]

Waits = Mapping[str, tuple[str, float]]
"""By stream: the method of the newest message, if that is a request to the client, and when it was stored."""

_MAX_PAYLOAD_CHARACTERS: Final = 10_000
_TIMES: Final = {column.name: column for column in SESSION if column.name in ("created", "last_seen", "ends")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A line of the timeline."""

    key: str
    at: float
    """By what the lines are ordered: seconds since the epoch."""
    order: int = 0
    """The order of lines with the same time."""
    when: float = 0.0
    """The time that is shown; 0 if it is unknown."""
    direction: str = ""
    """`in`: from the client; `out`: to the client."""
    state: str = ""
    """`running`, `waiting`, `ok`, `failed`, `cancelled`; empty for messages and events."""
    label: str = ""
    """The state in words."""
    texts: list[str]
    """The first one is the title."""
    why: str = ""
    payload: str | None = field(default=None, repr=False)  # at DEBUG, Django logs contexts
    """None unless the user may see it and has requested it."""

    @property
    def time(self) -> str:
        """Return the exact time and its zone."""
        return exact_time(self.when)

    @property
    def iso(self) -> str:
        """Return the time for the page's script."""
        return iso_time(self.when) if self.when else ""

    def to_json(self) -> dict[str, Any]:
        """Return the line as JSON for the page's script."""
        names = ("key", "at", "order", "direction", "state", "label", "texts", "why", "time", "iso")
        line = {name: getattr(self, name) for name in names}
        return line if self.payload is None else {**line, "payload": self.payload}


# -- tables ----------------------------------------------------------------------------------------------


def session_tables(detail: SessionDetail, waits: Waits) -> tuple[Table, ...]:
    """Return the tables of a session's page."""
    return detail_table(detail, exact_time), calls_table(detail, waits), streams_table(detail)


def calls_table(detail: SessionDetail, waits: Waits) -> Table:
    """Return the running calls, each with its state."""
    by_name = {column.name: column for column in CALL}
    state: Field[InFlightRequest] = Field("state", _("State"), value=lambda call: _state(call, waits)[1])
    started: Field[InFlightRequest] = Field("started", _("Started"), value=lambda call: exact_time(call.started))
    columns = (by_name["request_id"], by_name["operation"], state, started, by_name["node"])
    return table("calls", _("Running calls"), columns, detail.calls)


def moments(detail: SessionDetail) -> dict[str, str]:
    """Return the times in the table of details, for the page's script, by their labels."""
    labels = {name: str(column.label) for name, column in _TIMES.items()}
    return {labels[name]: iso_time(getattr(detail.session, name)) for name in _TIMES if getattr(detail.session, name)}


def _state(call: InFlightRequest, waits: Waits) -> tuple[str, str]:
    if call.stream not in waits:
        return "running", _("running")
    method, since = waits[call.stream]
    if not since:
        return "waiting", _("waiting for the answer to %(method)s") % {"method": method}
    text = _("waiting for the answer to %(method)s since %(time)s")
    if method == "elicitation/create":
        text = _("waiting for the user's answer since %(time)s")
    return "waiting", text % {"method": method, "time": exact_time(since)}


# -- the timeline ----------------------------------------------------------------------------------------


def request_items(detail: SessionDetail, waits: Waits, *, payloads: bool) -> list[Item]:
    """Return the lines of requests and events, the newest first; what failed requests say only with `payloads`."""
    opened = detail.session.created
    items = [
        *(_running(call, waits) for call in detail.calls),
        *(_ended(entry, payloads=payloads) for entry in detail.history),
        Item(key="opened", at=opened, when=opened, texts=[_("Session opened")]),
    ]
    return sorted(items, key=lambda item: (item.at, item.order), reverse=True)


def _running(call: InFlightRequest, waits: Waits) -> Item:
    state, label = _state(call, waits)
    return Item(
        key=_request_key(call.request_id, call.started),
        at=call.started,
        when=call.started,
        direction="in",
        state=state,
        label=label,
        texts=[call.operation, _request(call.request_id), _node(call.node)],
    )


def _ended(entry: HistoryEntry, *, payloads: bool) -> Item:
    if entry.what is not HistoryEvent.ENDED:
        stream = _("GET stream") if entry.stream == GET_STREAM else entry.stream
        texts = [ending_text(entry), stream, _node(entry.node)]
        key = f"{entry.what} {entry.stream} {entry.when:.3f}"
        return Item(key=key, at=entry.when, when=entry.when, texts=texts)
    failure = entry.failure
    return Item(
        key=_request_key(entry.request_id, entry.began),
        at=entry.began,
        when=entry.began,
        direction="in",
        state=_STATES.get(entry.ending or Ending.OK, "failed"),
        label=ending_text(entry),
        texts=[entry.operation, _request(entry.request_id), _seconds(entry.seconds), _node(entry.node)],
        why=failure_text(failure) if failure is not None else "",
        payload=_failure_text(failure.message, failure.arguments) if payloads and failure is not None else None,
    )


_STATES: Final = {Ending.OK: "ok", Ending.CANCELLED: "cancelled"}


def message_items(detail: SessionDetail, messages: Iterable[StreamMessage], *, payloads: bool) -> list[Item]:
    """Return the lines of messages, the newest first, each with the call of its stream."""
    operations, began = stream_operations(detail), _began(detail)
    items = [_message(message, operations, began, detail.session.created, payloads=payloads) for message in messages]
    return sorted(items, key=lambda item: (item.at, item.order), reverse=True)


def _message(
    message: StreamMessage,
    operations: Mapping[str, str],
    began: Mapping[str, float],
    opened: float,
    *,
    payloads: bool,
) -> Item:
    stream = _("GET stream") if message.stream == GET_STREAM else operations.get(message.stream, message.stream)
    texts = [message.kind, f"#{message.number}", stream, message.progress, size(message.bytes)]
    return Item(
        key=f"{message.stream} {message.number}",
        # A message whose time is unknown comes after its request.
        at=message.when or began.get(message.stream, opened),
        order=message.number,
        when=message.when,
        direction="out",
        texts=[text for text in texts if text],
        payload=_shorten(_pretty(PAYLOAD.read(message))) if payloads else None,
    )


def _began(detail: SessionDetail) -> dict[str, float]:
    """Return when the request of each stream began."""
    ended = {entry.stream: entry.began for entry in detail.history if entry.what is HistoryEvent.ENDED}
    return ended | {call.stream: call.started for call in detail.calls}


def merged(requests: Iterable[Item], messages: Iterable[Item]) -> list[Item]:
    """Return all lines, the newest first."""
    return sorted([*requests, *messages], key=lambda item: (item.at, item.order), reverse=True)


def call_name(call: InFlightRequest) -> str:
    """Return the operation and the id of a call."""
    return f"{call.operation} ({_request(call.request_id)})"


def update_waits(waits: Waits, messages: Iterable[StreamMessage]) -> dict[str, tuple[str, float]]:
    """Return which streams wait for their clients after these messages, each stream's in order."""
    updated = dict(waits)
    for message in messages:
        if message.is_server_request and message.stream != GET_STREAM:
            updated[message.stream] = message.kind, message.when
        else:
            updated.pop(message.stream, None)
    return updated


def _request_key(request_id: Any, began: float) -> str:
    # To the tenth of a second: the store computes the beginning of an ended request from its duration.
    return f"request {request_id_text(request_id)} {began:.1f}"


def _request(request_id: Any) -> str:
    return _("request %(id)s") % {"id": request_id_text(request_id)}


def _node(name: str) -> str:
    return _("node %(name)s") % {"name": name}


def _seconds(seconds: float) -> str:
    return duration(seconds) if seconds >= 60 else _("%(count)s s") % {"count": number(seconds, 3)}


def _failure_text(message: str, arguments: str) -> str:
    shown = [text for text in (message, _pretty(arguments)) if text]
    return _shorten("\n".join(shown)) if shown else _("Not kept: see FAILURE_PAYLOADS.")


def _pretty(text: str) -> str:
    """Indent JSON; return anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_PAYLOAD_CHARACTERS else text[:_MAX_PAYLOAD_CHARACTERS] + " …"
