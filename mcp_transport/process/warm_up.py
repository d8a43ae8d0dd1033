"""The warm-up of a process: work in the background of its event loop, each step repeated until it succeeds."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

__all__ = ["WARMING_UP", "WarmUp"]

logger = logging.getLogger(__name__)

WARMING_UP: Final = "warming up"  # reasons are public, so without details, which are logged

_FIRST_PAUSE_SECONDS: Final = 1.0  # after a failed attempt; doubled after each further one
_MAX_PAUSE_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 1.0


class WarmUp:
    """Runs `work` once in a process."""

    def __init__(self, work: Callable[[WarmUp, bool], Coroutine[Any, Any, None]]) -> None:
        """Prepare the warm-up; `work` gets it, and whether it runs on the loop that serves the requests."""
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self.reason = ""
        """Why this process should get no traffic yet; empty when it is warm, or the warm-up has not begun."""

    def begin(self) -> None:
        """Start on the running loop, once; again if its loop was closed before it was done."""
        if self._loop is not None and not (self.reason and self._loop.is_closed()):
            return
        self.reason, self._loop = WARMING_UP, asyncio.get_running_loop()
        # In an empty context: it outlives the request that starts it.
        self._task = self._loop.create_task(self._run(True), name="warm-up", context=Context())

    def begin_in_thread(self) -> None:
        """Start in a thread with a loop of its own, once: under WSGI the loop of a request ends with it."""
        if self._thread is None:
            self.reason = WARMING_UP
            self._thread = threading.Thread(target=self._run_in_thread, name="mcp-warm-up", daemon=True)
            self._thread.start()

    def _run_in_thread(self) -> None:
        asyncio.run(self._run(False))

    async def _run(self, has_node: bool) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.until_done("the warm-up", lambda: self._work(self, has_node), seconds=None, cancels=True)
        self.reason = ""
        logger.debug("warm after %.2f s", loop.time() - began)

    async def stop(self, reason: str) -> None:
        """Cancel the warm-up, because the process stops; a synchronous function runs on in its thread."""
        if not self.reason:
            return
        self.reason = reason
        if self._task is not None and self._loop is asyncio.get_running_loop():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_STOP_SECONDS)

    async def until_done(
        self, what: str, work: Callable[[], Coroutine[Any, Any, object]], *, seconds: float | None, cancels: bool
    ) -> None:
        """Repeat `work` until it succeeds; `reason` names `what` from the first failure on.

        An attempt fails if it raises, or takes longer than `seconds`. It is then cancelled if it `cancels`. Another
        one starts only when it has ended: a function that hangs must not occupy one thread after the other.
        """
        pause, attempt, is_late = _FIRST_PAUSE_SECONDS, _started(work), False
        try:
            while not _has_succeeded(attempt):
                await asyncio.wait([attempt], timeout=seconds)
                if _has_succeeded(attempt):
                    break
                if not attempt.done():
                    self._report(what, f"did not end within {seconds:g} s", None)
                    is_late = True
                    if cancels:
                        attempt.cancel()
                elif not (is_late and attempt.cancelled()):  # otherwise it was reported
                    self._report(what, "failed", None if attempt.cancelled() else attempt.exception())
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
                if attempt.done() and not _has_succeeded(attempt):
                    attempt, is_late = _started(work), False
        finally:
            attempt.cancel()
        if self.reason.startswith(WARMING_UP):  # not if the process stops
            self.reason = WARMING_UP

    def _report(self, what: str, problem: str, error: BaseException | None) -> None:
        logger.error("this process is not ready: %s %s, and is tried again", what, problem, exc_info=error)
        self.reason = f"{WARMING_UP}: {what} {problem}, and is tried again"


def _started(work: Callable[[], Coroutine[Any, Any, object]]) -> asyncio.Task[object]:
    attempt = asyncio.get_running_loop().create_task(work(), name="warm-up step")
    # An exception of an attempt that was cancelled, since the process stops, is nobody's.
    attempt.add_done_callback(lambda done: done.cancelled() or done.exception())
    return attempt


def _has_succeeded(attempt: asyncio.Task[object]) -> bool:
    return attempt.done() and not attempt.cancelled() and attempt.exception() is None
