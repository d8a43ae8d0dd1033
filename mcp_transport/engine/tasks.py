"""Task ownership: every task of the engine belongs to a `TaskSet` and ends with it; and waiting for tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from mcp_transport.exceptions import BackendError

__all__ = ["TaskSet", "ignore_outage", "set_within_two_ticks", "wait_while"]

_POLL_SECONDS: Final = 0.05

logger = logging.getLogger(__name__)

_CANCEL_TIMEOUT_SECONDS: Final = 5.0


class TaskSet:
    """The tasks of one node."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._permanent: set[asyncio.Task[None]] = set()
        self._is_requested: dict[Hashable, bool] = {}
        self.is_ending = False
        """Are the remaining tasks being cancelled?"""

    def spawn(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> asyncio.Task[None]:
        """Run `work` in a task of its own and log its failure.

        Without `context` the task has no context variables: it is not part of the request that spawns it.
        """
        # Not by the loop's task factory, which wraps the tasks of handlers.
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), context=Context() if context is None else context)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def spawn_permanent(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` that lasts as long as the node."""
        task = self.spawn(work)
        self._permanent.add(task)
        return task

    def spawn_once(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` in a task, one at a time for each key; if it is spawned meanwhile, it runs once more."""
        is_running = key in self._is_requested
        self._is_requested[key] = True
        if not is_running:
            self.spawn(self._run_requested(key, work))

    async def _run_requested(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            while self._is_requested[key]:
                self._is_requested[key] = False
                await work()
        finally:
            del self._is_requested[key]

    async def wait_idle(self, seconds: float) -> None:
        """Wait at most `seconds` until only permanent tasks run."""
        deadline = asyncio.get_running_loop().time() + seconds
        while passing := self._tasks - self._permanent - {asyncio.current_task()}:
            if (remaining := deadline - asyncio.get_running_loop().time()) <= 0:
                return
            await asyncio.wait(passing, timeout=remaining)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._permanent.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task of the engine failed", exc_info=error)

    async def stop(self) -> None:
        """Cancel the remaining tasks and wait for their end; tasks cancelled before get no further time."""
        self.is_ending = True
        running = [task for task in self._tasks if task is not asyncio.current_task()]
        not_cancelled = [task for task in running if not task.cancelling()]
        for task in running:
            task.cancel()
        if not_cancelled:
            await asyncio.wait(not_cancelled, timeout=_CANCEL_TIMEOUT_SECONDS)
        elif running:
            await asyncio.wait(running, timeout=0)
        for task in running:
            if not task.done():
                logger.error("a task does not end although it was cancelled: %r", task)


async def ignore_outage(operation: Awaitable[object]) -> None:
    """Run a store operation that may be skipped while the store is unavailable."""
    with suppress(BackendError):
        await operation


async def set_within_two_ticks(event: asyncio.Event) -> bool:
    """Yield to the loop twice and return whether `event` is set: most calls finish by then, without a timer."""
    for _ in range(2):  # once for the task, once for the callback of its end
        await asyncio.sleep(0)
        if event.is_set():
            return True
    return False


async def wait_while(condition: Callable[[], bool], deadline: float, *, initial_delay: float) -> None:
    """Poll `condition`, first after `initial_delay` seconds, until it is false or the loop's time is `deadline`."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(initial_delay)
    while condition() and loop.time() < deadline:  # noqa: ASYNC110 (several things may make it false)
        await asyncio.sleep(_POLL_SECONDS)
