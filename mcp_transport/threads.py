"""Synchronous work, off the event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

__all__ = ["in_thread"]

_T = TypeVar("_T")


def in_thread(work: Callable[[], _T], executor: ThreadPoolExecutor | None = None) -> Coroutine[Any, Any, _T]:
    """Run work in a thread of `executor`, or the loop's own, with fresh database connections and none left open."""

    def run() -> _T:
        close_old_connections()
        try:
            return work()
        finally:
            close_old_connections()

    return sync_to_async(run, thread_sensitive=False, executor=executor)()
