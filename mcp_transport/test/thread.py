"""The test's thread, while a synchronous tool or middleware waits in it for asynchronous code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

import asgiref.sync
from asgiref.current_thread_executor import CurrentThreadExecutor
from asgiref.sync import AsyncToSync, SyncToAsync

__all__ = ["WhileItLasts", "on_waiting_thread"]

_waiting: WeakKeyDictionary[threading.Thread, list[ref[Any]]] = WeakKeyDictionary()
"""The executors that run work on a thread which waits in them, or is about to, the innermost last."""


class _Noted(CurrentThreadExecutor):
    """Says where it waits."""

    def __init__(self, old_executor: Any) -> None:
        super().__init__(old_executor)
        # At once: the asynchronous code may be under way before the thread waits for it.
        _waiting.setdefault(threading.current_thread(), []).append(ref(self))

    def run_until_future(self, future: Future[Any]) -> None:
        try:
            super().run_until_future(future)
        finally:
            _waiting[threading.current_thread()].remove(ref(self))


# Private in asgiref, which says of no thread what waits there: `async_to_sync` makes one each time.
vars(asgiref.sync)["CurrentThreadExecutor"] = _Noted


class WhileItLasts:
    """Runs work on the thread that waits in a middleware and, when it waits no more, where asgiref does without one.

    asgiref gives the call's task that thread for good (django/asgiref#526).
    """

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, *work: Any) -> Any:
        """Run work, as executors do."""
        try:
            return self._executor.submit(*work)
        except (AttributeError, RuntimeError):  # it is over, and so is, or there is not, the one it was made within
            return SyncToAsync.single_thread_executor.submit(*work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)  # asgiref's executors look at the one they are made within


class _Innermost:
    """Runs work on a thread although a synchronous tool keeps it, if that waits for asynchronous code."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, *work: Any) -> Any:
        usual: Any = SyncToAsync.single_thread_executor if self._executor is None else self._executor
        threads = usual._threads if self._executor is None else {usual._work_thread}
        waiting = [found for thread in threads for item in _waiting.get(thread, ()) if (found := item()) is not None]
        if self._executor is not None and self._executor not in waiting:
            waiting = []  # it is over, and knows whom to ask
        return (waiting[-1] if waiting else usual).submit(_tidy, *work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


def _tidy(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do work, and forget the executors that it made but never waited in."""
    waiting = _waiting.setdefault(threading.current_thread(), [])
    before = len(waiting)
    try:
        return work(*arguments)
    finally:
        del waiting[before:]


@contextmanager
def on_waiting_thread() -> Iterator[None]:
    """Have the block's synchronous code run on the test's thread although a tool may wait there for the block."""
    before = getattr(AsyncToSync.executors, "current", None)
    AsyncToSync.executors.current = _Innermost(before)
    try:
        yield
    finally:
        AsyncToSync.executors.current = before
