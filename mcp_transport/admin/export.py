"""Exports of the session list, written page by page while they are sent."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Any, Final

from asgiref.sync import sync_to_async

from mcp_transport.backends.records import Page
from mcp_transport.domain.session import Session
from mcp_transport.operators.representation.fields import to_json
from mcp_transport.operators.representation.sessions import SESSION

__all__ = ["FORMATS", "MAX_EXPORTED", "export", "stream"]

MAX_EXPORTED: Final = 10_000
"""The most sessions of one export: the first ones in the order of the list."""
PAGE_SIZE: Final = 2000
"""How many of them are read at a time."""

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}

# How many lines are sent together.
_LINES: Final = 500

# Spreadsheets run cells that begin so as formulas, and clients choose their names.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")

Read = Callable[[int, int], Page]
"""Reads the page of sessions at an offset, of at most so many."""


def export(form: str, read: Read) -> Iterator[str]:
    """Return the parts of an export; the first page is read at once, so that errors are raised here."""
    first = read(0, PAGE_SIZE)
    sessions = _sessions(first, read)
    return _joined(_as_csv(sessions) if form == "csv" else _as_json(sessions, first))


async def stream(parts: Iterator[str]) -> AsyncIterator[str]:
    """Yield the parts of an export, which are computed in a thread: Django's ASGI handler needs an async iterator."""
    while part := await sync_to_async(lambda: next(parts, ""))():
        yield part


def _joined(lines: Iterator[str]) -> Iterator[str]:
    while lines_of_part := list(islice(lines, _LINES)):
        yield "".join(lines_of_part)


def _sessions(page: Page, read: Read) -> Iterator[Session]:
    """Yield the sessions of all pages, each once: they may change their places meanwhile."""
    exported: set[str] = set()
    offset = 0
    while True:
        for session in page.sessions:
            if session.key not in exported and len(exported) < MAX_EXPORTED:
                exported.add(session.key)
                yield session
        offset += len(page.sessions)
        if len(page.sessions) < PAGE_SIZE or offset >= MAX_EXPORTED:
            return
        page = read(offset, min(PAGE_SIZE, MAX_EXPORTED - offset))


class _Line:
    """A file for `csv.writer` whose `write` returns the line."""

    def write(self, line: str) -> str:
        return line


def _as_csv(sessions: Iterator[Session]) -> Iterator[str]:
    writer: Any = csv.writer(_Line())
    yield writer.writerow([field.name for field in SESSION])
    for session in sessions:
        yield writer.writerow([_cell(value) for value in to_json(SESSION, session).values()])


def _cell(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, bool | None) else str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _as_json(sessions: Iterator[Session], first: Page) -> Iterator[str]:
    yield f'{{"total": {first.total}, "total_is_exact": {json.dumps(first.is_exact)}, "results": ['
    separator = "\n"
    for session in sessions:
        yield separator + json.dumps(to_json(SESSION, session))
        separator = ",\n"
    yield "\n]}\n"
