"""Who owns a task: every task of the engine belongs to a `TaskSet`, and ends with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from mcp_transport.exceptions import BackendError

__all__ = ["TaskSet", "quietly", "wait_while"]

# Seconds between two looks.
_LOOK_EVERY: Final = 0.05

logger = logging.getLogger(__name__)

# Seconds that a cancelled task has to end.
_PATIENCE: Final = 5.0


class TaskSet:
    """The tasks of one node."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._residents: set[asyncio.Task[None]] = set()
        self.is_ending = False
        """Is what still runs being cancelled?"""

    def spawn(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> asyncio.Task[None]:
        """Run `work` in a task of its own; a failure is logged.

        Unless it is given one, it has a context without variables: it is not part of the request that spawns it.
        """
        # Not by the loop's factory, which is for tasks that handlers make.
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), context=Context() if context is None else context)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def spawn_resident(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` that is meant to last as long as the node."""
        task = self.spawn(work)
        self._residents.add(task)
        return task

    async def settle(self, seconds: float) -> None:
        """Wait until everything but the residents is done, `seconds` at most."""
        passing = self._tasks - self._residents - {asyncio.current_task()}
        if passing:
            await asyncio.wait(passing, timeout=seconds)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._residents.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task of the engine failed", exc_info=error)

    async def stop(self) -> None:
        """Cancel what still runs, and wait for its end; what was cancelled before `settle` has had its time."""
        self.is_ending = True
        running = [task for task in self._tasks if task is not asyncio.current_task()]
        going_on = [task for task in running if not task.cancelling()]
        for task in running:
            task.cancel()
        if going_on:
            await asyncio.wait(going_on, timeout=_PATIENCE)
        elif running:
            await asyncio.wait(running, timeout=0)
        for task in running:
            if not task.done():
                logger.error("a task does not end although it is cancelled: %r", task)


async def quietly(word: Awaitable[object]) -> None:
    """Tell a store something that it may do without."""
    with suppress(BackendError):
        await word


async def wait_while(condition: Callable[[], bool], give_up: float, *, after: float) -> None:
    """Look now and then, `after` some seconds, until something is no longer so, or until a time of the loop."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(after)
    while condition() and loop.time() < give_up:  # noqa: ASYNC110 (it may be many things)
        await asyncio.sleep(_LOOK_EVERY)
