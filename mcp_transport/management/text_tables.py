"""What `manage.py mcp_sessions` prints for people: lines of text, in which nothing controls a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mcp_transport.backends.records import NodeRecord, Overview, Page
from mcp_transport.domain.history import HistoryEntry
from mcp_transport.domain.metrics import Histogram, TrafficSummary
from mcp_transport.domain.session import Session, short_id
from mcp_transport.domain.session_query import client_of, state_of
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators.service import SessionDetail
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "detail_lines",
    "message_lines",
    "moment",
    "node_lines",
    "overview_lines",
    "session_lines",
    "traffic_lines",
]

# The last cell of a row has no end.
_LONGEST_CELL: Final = 60

_Rows = Iterable[Sequence[Any]]


# -- tables ----------------------------------------------------------------------------------------------


def _table(columns: Sequence[str], rows: _Rows) -> Iterator[str]:
    """Yield the lines of a table, its columns as wide as they have to be."""
    cells = [[_plain(cell) for cell in row] for row in (columns, *rows)]
    widths = [min(_LONGEST_CELL, max(map(len, column))) for column in zip(*cells, strict=True)]
    for row in cells:
        *most, last = row
        cut = [f"{cell[:width]:{width}}" for cell, width in zip(most, widths, strict=False)]
        yield "  ".join([*cut, last]).rstrip()


def _section(title: str, columns: Sequence[str], rows: _Rows) -> Iterator[str]:
    known = list(rows)
    yield from ("", title)
    yield from (f"  {line}" for line in (_table(columns, known) if known else ["none"]))


def _facts(known: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, known))
    return (f"{name:{width}}  {_plain(value)}" for name, value in known.items())


def _plain(value: Any) -> str:
    """Write a value without what a terminal obeys: clients name themselves as they like."""
    text = "-" if value in ("", None) else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)


def moment(seconds: float) -> str:
    """Write a time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=max(0, int(seconds))))


def _name_of(request_id: RequestId | None) -> str:
    return "" if request_id is None else json.dumps(request_id)


# -- sessions --------------------------------------------------------------------------------------------


def session_lines(page: Page) -> Iterator[str]:
    """Yield a list of sessions."""
    columns = ("id", "client", "protocol", "user", "last seen", "requests", "errors", "calls", "streams", "state")
    yield from _table(columns, map(_session_row, page.sessions))
    yield f"{len(page.sessions)} of {'' if page.is_exact else 'about '}{page.total} sessions"


def _session_row(session: Session) -> tuple[Any, ...]:
    return (
        short_id(session.key),
        client_of(session)[:24],
        session.protocol_version,
        session.user[:16],
        moment(session.last_seen)[:19],
        session.requests,
        session.errors,
        session.calls,
        session.streams,
        state_of(session, time.time()),
    )


def detail_lines(found: SessionDetail, *, is_whole: bool) -> Iterator[str]:
    """Yield what is known of a session; `is_whole` where that includes what goes on in other processes."""
    session = found.session
    yield from _facts(
        {
            "id": short_id(session.key),
            "client": client_of(session),
            "user": session.user,
            "state": state_of(replace(session, calls=len(found.flights)), time.time()),
            "protocol": session.protocol_version,
            "initialized": "yes" if session.initialized else "no",
            "node": session.node,
            "address": session.address,
            "user agent": session.user_agent,
            "created": moment(session.created),
            "last seen": moment(session.last_seen),
            "ends": moment(session.ends),
            "requests": session.requests,
            "errors": session.errors,
            "log level": session.log_level,
            "subscriptions": ", ".join(found.subscriptions),
            "values": ", ".join(found.state),
        }
    )
    if is_whole:
        yield from _activity_lines(found)
    else:
        yield from ("", "Calls, streams and history are known to the server process that has them, and to no other.")


def _activity_lines(found: SessionDetail) -> Iterator[str]:
    calls = (
        (_name_of(call.request_id), call.operation, _duration(time.time() - call.started), call.node, call.stream)
        for call in found.flights
    )
    yield from _section("calls", ("request", "operation", "age", "node", "stream"), calls)
    streams = (
        (item.name, item.writer, item.holder, item.last, item.bytes, "yes" if item.ended else "no")
        for item in found.streams
    )
    yield from _section("streams", ("name", "writer", "holder", "last", "bytes", "ended"), streams)
    columns = ("when", "what", "operation", "request", "seconds", "node", "stream")
    yield from _section("history", columns, map(_history_row, found.history))


def _history_row(entry: HistoryEntry) -> tuple[Any, ...]:
    return (
        moment(entry.when)[:19],
        entry.ending or entry.what,
        entry.operation,
        _name_of(entry.request_id),
        f"{entry.seconds:.3f}" if entry.ending else "",
        entry.node,
        entry.stream,
    )


def message_lines(messages: Iterable[StreamMessage], *, payloads: bool) -> Iterator[str]:
    """Yield what streams have had, and say it in full only where `payloads` are asked for."""
    columns = ("stream", "number", "kind", "request", "progress", "bytes", *(["payload"] if payloads else []))
    return _table(columns, (_message_row(message, payloads) for message in messages))


def _message_row(message: StreamMessage, payloads: bool) -> tuple[Any, ...]:
    payload = [message.payload.decode(errors="replace")] if payloads else []
    id = _name_of(message.request_id)
    return (message.stream, message.number, message.kind, id, message.progress, message.bytes, *payload)


# -- all of them -----------------------------------------------------------------------------------------


def node_lines(nodes: Iterable[NodeRecord]) -> Iterator[str]:
    """Yield a list of nodes."""
    rows = (
        (node.name, node.host, node.pid, node.calls, f"{node.age:.1f} s", "yes" if node.draining else "no")
        for node in nodes
    )
    return _table(("node", "host", "pid", "calls", "lease renewed ago", "draining"), rows)


def overview_lines(known: Overview) -> Iterator[str]:
    """Yield all sessions, summed up."""
    yield from _facts(
        {
            "sessions": known.total,
            "new within a minute": known.opened,
            "mean duration": f"{_duration(known.mean_duration)}, of {known.sampled} sessions",
            "median duration": f"{_duration(known.median_duration)}, of {known.sampled} sessions",
            "memory of the store": f"{known.memory} bytes" if known.memory else "not known",
            "limit of that": f"{known.memory_limit} bytes" if known.memory_limit else "none, or not known",
        }
    )
    for kind, values in known.values.items():
        name = kind.removesuffix("_version")
        yield from _section(f"sessions by {name}", (name, "sessions"), values)


def traffic_lines(traffic: TrafficSummary) -> Iterator[str]:
    """Yield the traffic of the last minutes."""
    total = traffic.total
    yield from _facts(
        {
            "processes": traffic.processes,
            "seconds counted": f"{traffic.seconds:.0f}",
            "calls": total.calls,
            "calls a second": f"{traffic.rate(total.calls):.2f}",
            "95 of 100 within": _p95(total),
            "errors": _share(total),
            "new sessions": traffic.opened,
        }
    )
    operations = (
        (name, tally.calls, f"{traffic.rate(tally.calls):.2f}", _p95(tally), _share(tally))
        for name, tally in traffic.operations.items()
    )
    columns = ("operation", "calls", "a second", "95 of 100 within", "errors")
    yield from _section("calls by operation", columns, operations)
    yield from _section("calls by protocol", ("protocol", "calls"), traffic.versions.items())
    yield from _section("refused", ("reason", "requests"), traffic.refused.items())
    points = (
        (f"{point.age:.0f}", f"{point.calls:.2f}", f"{point.errors:.2f}", f"{point.p95 * 1000:.1f} ms", point.streams)
        for point in reversed(traffic.points)
    )
    columns = ("seconds ago", "calls a second", "errors a second", "95 of 100 within", "streams")
    yield from _section("the last minutes, the newest first", columns, points)


def _p95(tally: Histogram) -> str:
    return f"{tally.percentile(0.95) * 1000:.1f} ms" if tally.calls else ""


def _share(tally: Histogram) -> str:
    return f"{100 * tally.errors / tally.calls:.1f} %" if tally.calls else ""
