"""The text that `manage.py mcp_sessions` prints: tables without characters that control a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mcp_transport.backends.records import NodeRecord, Overview, Page
from mcp_transport.domain.metrics import TrafficSummary
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.operators.records import SessionDetail
from mcp_transport.operators.representation.fields import Table, pick, table
from mcp_transport.operators.representation.formats import utc_time
from mcp_transport.operators.representation.metrics import (
    breakdown_tables,
    breaker_table,
    node_table,
    overview_rows,
    traffic_rows,
    traffic_tables,
)
from mcp_transport.operators.representation.sessions import MESSAGE, PAYLOAD, SESSION, activity_tables, detail_table

__all__ = ["detail_lines", "message_lines", "node_lines", "overview_lines", "session_lines", "traffic_lines"]

# The last cell of a row has no limit.
_MAX_CELL_CHARACTERS: Final = 60

_LIST_COLUMNS: Final = pick(
    SESSION,
    *("id", "client", "protocol", "user", "last_seen", "requests", "errors", "calls", "streams", "state"),
)


def session_lines(page: Page) -> Iterator[str]:
    """Yield a list of sessions."""
    yield from _lines(table("sessions", "", _LIST_COLUMNS, page.sessions))
    yield f"{len(page.sessions)} of {'' if page.is_exact else 'about '}{page.total} sessions"


def detail_lines(detail: SessionDetail, *, all_processes: bool, payloads: bool = False) -> Iterator[str]:
    """Yield the details of a session, with its calls, streams and history if those of all processes are visible."""
    yield from _details(detail_table(detail, utc_time).rows)
    if all_processes:
        yield from _sections(activity_tables(detail, utc_time, payloads=payloads))
    else:
        yield from ("", "Calls, streams and history are visible only in the server process that has them.")


def message_lines(messages: Iterable[StreamMessage], *, payloads: bool) -> Iterator[str]:
    """Yield messages on streams, with their contents only if `payloads` is true."""
    return _lines(table("messages", "", (*MESSAGE, PAYLOAD) if payloads else MESSAGE, messages))


def node_lines(nodes: Iterable[NodeRecord]) -> Iterator[str]:
    """Yield a list of nodes."""
    return _lines(node_table(nodes))


def overview_lines(overview: Overview) -> Iterator[str]:
    """Yield the summary of all sessions."""
    yield from _details(overview_rows(overview))
    yield from _sections(breakdown_tables(overview, "clients", "users", "protocols", "nodes"))


def traffic_lines(traffic: TrafficSummary) -> Iterator[str]:
    """Yield the traffic of the last minutes."""
    yield from _details(traffic_rows(traffic))
    yield from _sections((*traffic_tables(traffic), breaker_table(traffic)))


def _lines(content: Table) -> Iterator[str]:
    """Yield the lines of a table whose columns are as wide as their cells."""
    heads = [column.lower() for column in content.columns]
    cells = [[_printable(cell) for cell in row] for row in (heads, *content.rows)]
    widths = [min(_MAX_CELL_CHARACTERS, max(map(len, column))) for column in zip(*cells, strict=True)]
    for row in cells:
        *others, last = row
        cut = [f"{_shortened(cell, width):{width}}" for cell, width in zip(others, widths, strict=False)]
        yield "  ".join([*cut, last]).rstrip()


def _shortened(cell: str, width: int) -> str:
    """Mark what is cut: a filter takes whole names."""
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def _sections(tables: Iterable[Table]) -> Iterator[str]:
    for content in tables:
        yield from ("", content.title.lower())
        yield from (f"  {line}" for line in (_lines(content) if content.rows else ["none"]))


def _details(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    width = max(len(label) for label, _ in rows)
    return (f"{label.lower():{width}}  {_printable(value)}" for label, value in rows)


def _printable(text: str) -> str:
    """Replace characters that a terminal interprets: clients choose their own names."""
    return "".join(character if character.isprintable() else "?" for character in text.replace("\xa0", " "))
