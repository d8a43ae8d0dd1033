"""Tools that count their runs and the queries of the database, and tools of a downstream that can be cut off."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any, Final, TypedDict

from django.db import connection

from mcp_transport import Batch, CircuitBreaker, tool
from tests.bench.less_work.scale import DOWN_SECONDS, QUERY_SECONDS

_counts: Counter[str] = Counter()
_down: Final = threading.Event()


class Item(TypedDict):
    """The arguments of one call."""

    a: int


@tool(read_only=True)
def plain(a: int) -> int:
    """Make one query."""
    return _query(a)


@tool(read_only=True, coalesce=True)
def coalesced(a: int) -> int:
    """Make one query; equal calls share it."""
    return _query(a)


@tool(read_only=True, batch=Batch(max_size=50, max_wait_ms=10))
def batched(items: list[Item]) -> list[int]:
    """Make one query for several calls."""
    _query(len(items))
    return [item["a"] for item in items]


@tool
async def take_counts() -> dict[str, int]:
    """Return what was counted since the last call."""
    taken = {"runs": 0, "queries": 0, **_counts}
    _counts.clear()
    return taken


@tool
def fragile(a: int) -> int:
    """Ask the downstream."""
    return _ask_downstream(a)


@tool(circuit_breaker=CircuitBreaker(window=5.0, min_calls=10, open_for=1.0, max_open_for=2.0))
def guarded(a: int) -> int:
    """Ask the downstream, unless too many calls have failed."""
    return _ask_downstream(a)


@tool
def steady(a: int) -> int:
    """Take a thread for a moment, and do not need the downstream."""
    return a


@tool
async def cut_off(down: bool) -> bool:
    """Cut the downstream off, or restore it."""
    if down:
        _down.set()
    else:
        _down.clear()
    return down


def _query(value: int) -> int:
    _counts["runs"] += 1
    with connection.execute_wrapper(_counted), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    time.sleep(QUERY_SECONDS)  # what a database server would take
    return value


def _counted(execute: Any, *arguments: Any) -> Any:
    _counts["queries"] += 1
    return execute(*arguments)


def _ask_downstream(a: int) -> int:
    if _down.is_set():
        time.sleep(DOWN_SECONDS)  # until the downstream's client gives up
        raise ConnectionError("the downstream does not answer")
    return a
