"""Long-running work: a failure is logged and skips one message, one record or one turn, but never ends the task."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from mcp_transport.exceptions import BackendError, Unreadable

__all__ = ["Supervised", "attempt", "forget_failures", "log_failure", "result_of", "suppress_and_log"]

_T = TypeVar("_T")

# The same failure is logged once per interval; this is how many failures are remembered for that.
_LOG_INTERVAL_SECONDS: Final = 60.0
_MAX_REMEMBERED: Final = 1000

# After a failed turn; doubled after each further failure.
_FIRST_PAUSE_SECONDS: Final = 0.5

logger = logging.getLogger(__name__)

_logged_at: dict[tuple[str, str], float] = {}


def log_failure(what: str, error: BaseException) -> None:
    """Log a failure: an unavailable store at WARNING in one line, anything else at ERROR with its traceback.

    The same failure is logged once a minute, so that a loop cannot fill the log.
    """
    failure, now = (what, f"{type(error).__name__}: {error}"[:200]), time.monotonic()
    if now - _logged_at.get(failure, -_LOG_INTERVAL_SECONDS) < _LOG_INTERVAL_SECONDS:
        return
    if len(_logged_at) >= _MAX_REMEMBERED:
        _logged_at.clear()
    _logged_at[failure] = now
    if _is_outage(error):
        logger.warning("%s: %s", what, error)
    else:
        logger.error("%s", what, exc_info=error)


def forget_failures() -> None:
    """Forget logged failures, so that the next one is logged again."""
    _logged_at.clear()


@contextmanager
def suppress_and_log(what: str) -> Iterator[None]:
    """Log an exception of the block and continue after it. Raises: BackendError if the store does not answer."""
    try:
        yield
    except Exception as error:
        if _is_outage(error):
            raise
        log_failure(what, error)


async def attempt(what: str, work: Awaitable[_T], otherwise: _T) -> _T:
    """Return the result of `work`, or `otherwise` after a failure, as `suppress_and_log`. Raises: BackendError."""
    result = otherwise
    with suppress_and_log(what):
        result = await work
    return result


def result_of(what: str, reply: _T | BaseException, otherwise: _T) -> _T:
    """Return a result that `gather` has returned, or `otherwise` in place of an exception, as `attempt`."""
    result = otherwise
    with suppress_and_log(what):
        if isinstance(reply, BaseException):
            raise reply
        result = reply
    return result


class Supervised:
    """A task that repeats `turn` until the task is stopped, whatever `turn` raises.

    It pauses after a failure, each time twice as long, up to `max_pause` seconds.
    """

    def __init__(self, what: str, turn: Callable[[], Awaitable[None]], *, max_pause: float) -> None:
        """Prepare a task; its log messages start with `what`."""
        self._what, self._turn, self._max_pause = what, turn, max_pause
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def failure(self) -> BaseException | None:
        """Return the exception of the last turn; None if it succeeded or is the first one."""
        if self._failure is None and self._task is not None and self._task.done():
            return asyncio.CancelledError("the task was cancelled")
        return self._failure

    def start(self) -> None:
        """Start the task on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name=self._what)

    async def stop(self) -> None:
        """Cancel the task, and wait for its end."""
        while self._task is not None and not self._task.done():
            # Repeated, because a store client that is connecting may take the cancellation for its own timeout.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)

    async def run(self) -> None:
        """Run the turns in the current task."""
        pause = min(_FIRST_PAUSE_SECONDS, self._max_pause)
        while True:
            try:
                await self._turn()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._failure = error  # not requested: something inside the turn was cancelled
            except Exception as error:
                self._failure = error
            else:
                if self._failure is not None:
                    logger.info("%s works again", self._what)
                self._failure, pause = None, min(_FIRST_PAUSE_SECONDS, self._max_pause)
                continue
            log_failure(f"{self._what} failed", self._failure)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._max_pause)


def _is_outage(error: BaseException) -> bool:
    """Return whether an error means that the store does not answer, and not that a record is unreadable."""
    return isinstance(error, BackendError) and not isinstance(error, Unreadable)
