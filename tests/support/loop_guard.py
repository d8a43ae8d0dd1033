"""Finds callbacks that keep an event loop's thread busy: by its own processor time, at the machine's pace.

In this process a fixture of `tests.conftest` watches; in a server that a test starts, its site calls `watch_server`,
and what is found goes to the server's log, where the end of the test looks for MARK.

Left out of account are garbage collections in the process of the tests, whose heap is that of the whole suite,
and of a server what STARTUP names. uvloop runs its callbacks without `asyncio.Handle`, so a server on uvloop is not
watched: daphne is, and uvicorn with `--loop asyncio`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["LIMIT", "MARK", "excused", "watch_server", "watching"]

P = ParamSpec("P")
T = TypeVar("T")
_Handle: Any = asyncio.Handle  # private: `_run` is the one place where asyncio's loops run a callback

LIMIT: Final = 0.2
"""Seconds of processor time that one callback may take, on a machine that makes TURNS in TURNS_SECONDS."""

TURNS: Final = 100_000
TURNS_SECONDS: Final = 0.002
"""A processor that others share makes fewer turns in a second of its own time: what was found is scaled by that."""

MARK: Final = "THE LOOP WAS KEPT BUSY"

STARTUP: Final = (
    "mcp_transport.bootstrap._check_settings",
    "mcp_transport.bootstrap._build_endpoint",
    "mcp_transport.process.startup.freeze_gc",
)
"""What the first request of a process makes: the endpoint with its schemas, and a last full garbage collection."""


class _Excused(threading.local):
    """The processor time of a thread that counts for nothing."""

    seconds = 0.0
    began = 0.0


_own = _Excused()


@contextmanager
def watching(report: Callable[[str], None]) -> Iterator[None]:
    """Report each callback, of any loop of this process, that takes more than LIMIT."""
    before = _watch(report)
    try:
        yield
    finally:
        _Handle._run = before


def _watch(report: Callable[[str], None]) -> Callable[[asyncio.Handle], None]:
    """Begin to watch; return what ran callbacks until then."""
    run: Callable[[asyncio.Handle], None] = _Handle._run
    clock = time.thread_time

    @functools.wraps(run)
    def watched(handle: asyncio.Handle) -> None:
        began, before = clock(), _own.seconds
        run(handle)
        spent = clock() - began
        if spent > LIMIT and (spent := (spent - (_own.seconds - before)) / _slowness()) > LIMIT:
            report(f"{MARK} for {spent:.2f} s of processor time by {handle!r}")

    _Handle._run = watched
    return run


def _slowness() -> float:
    """Return how many times slower than the reference the processor is just now, 1 at least."""
    began = time.thread_time()
    for _ in range(TURNS):
        pass
    return max(1.0, (time.thread_time() - began) / TURNS_SECONDS)


def excused(function: Callable[P, T]) -> Callable[P, T]:
    """Leave the processor time that a function takes out of account."""

    @functools.wraps(function)
    def measured(*arguments: P.args, **options: P.kwargs) -> T:
        began = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            _own.seconds += time.thread_time() - began

    return measured


def _excuse_collection(phase: str, info: dict[str, Any]) -> None:
    if phase == "start":
        _own.began = time.thread_time()
    else:
        _own.seconds += time.thread_time() - _own.began


@contextmanager
def collections_excused() -> Iterator[None]:
    """Leave garbage collections out of account."""
    gc.callbacks.append(_excuse_collection)
    try:
        yield
    finally:
        gc.callbacks.remove(_excuse_collection)


def watch_server() -> None:
    """Watch this process until its end; what is found goes to its log. Its start-up, in STARTUP, is excused."""
    for place in STARTUP:
        module, _, name = place.rpartition(".")
        loaded = importlib.import_module(module)
        setattr(loaded, name, excused(getattr(loaded, name)))
    _watch(lambda found: print(found, file=sys.stderr, flush=True))
