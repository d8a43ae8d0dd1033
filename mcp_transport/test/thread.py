"""Runs code on the test's thread while a synchronous tool or middleware waits there for asynchronous code."""

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

__all__ = ["FallbackExecutor", "on_waiting_thread"]

_waiting_executors: WeakKeyDictionary[threading.Thread, list[ref[Any]]] = WeakKeyDictionary()
"""For each thread the executors in which it waits or is about to wait, the innermost last."""


class _TrackedExecutor(CurrentThreadExecutor):
    """Registers itself while its thread waits in it."""

    def __init__(self, old_executor: Any) -> None:
        super().__init__(old_executor)
        # In the constructor: the asynchronous code may run before the thread waits for it.
        _waiting_executors.setdefault(threading.current_thread(), []).append(ref(self))

    def run_until_future(self, future: Future[Any]) -> None:
        try:
            super().run_until_future(future)
        finally:
            _waiting_executors[threading.current_thread()].remove(ref(self))


# Private in asgiref, which does not expose where a thread waits: `async_to_sync` creates one of these per call.
vars(asgiref.sync)["CurrentThreadExecutor"] = _TrackedExecutor


class _Wrapper:
    """An executor around another one, whose attributes asgiref reads from it."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


class FallbackExecutor(_Wrapper):
    """Runs work on the thread that waits in a middleware, and on asgiref's default thread when it no longer waits.

    asgiref binds the call's task to the first one permanently (django/asgiref#526).
    """

    def submit(self, *work: Any) -> Any:
        """Run work, like an executor."""
        try:
            return self._executor.submit(*work)
        except (AttributeError, RuntimeError):  # it has ended, and its parent has ended or does not exist
            return SyncToAsync.single_thread_executor.submit(*work)


class _InnermostExecutor(_Wrapper):
    """Runs work on a thread that a synchronous tool occupies, if the tool waits there for asynchronous code."""

    def submit(self, *work: Any) -> Any:
        default: Any = SyncToAsync.single_thread_executor if self._executor is None else self._executor
        threads = default._threads if self._executor is None else {default._work_thread}
        candidates = [item() for thread in threads for item in _waiting_executors.get(thread, ())]
        waiting = [executor for executor in candidates if executor is not None]
        if self._executor is not None and self._executor not in waiting:
            waiting = []  # it has ended, and delegates to its parent
        return (waiting[-1] if waiting else default).submit(_run_and_clean_up, *work)


def _run_and_clean_up(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run work, and unregister the executors that it created but never waited in."""
    waiting = _waiting_executors.setdefault(threading.current_thread(), [])
    previous = len(waiting)
    try:
        return work(*arguments)
    finally:
        del waiting[previous:]


@contextmanager
def on_waiting_thread() -> Iterator[None]:
    """Run the block's synchronous code on the test's thread, even if a tool waits there for the block."""
    previous = getattr(AsyncToSync.executors, "current", None)
    AsyncToSync.executors.current = _InnermostExecutor(previous)
    try:
        yield
    finally:
        AsyncToSync.executors.current = previous
