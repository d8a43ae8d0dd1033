"""Work that lasts: what fails in it is logged, and costs one message, one record or one turn; never the task."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from mcp_transport.exceptions import BackendError, Unreadable

__all__ = ["Supervised", "attempt", "contained", "forget_failures", "log_failure"]

_T = TypeVar("_T")

# The same failure is logged once in so many seconds, and so many of them are remembered.
_LOG_AGAIN: Final = 60.0
_MOST_REMEMBERED: Final = 1000

# Seconds after a failed turn; each further failure doubles them.
_PAUSE: Final = 0.5

logger = logging.getLogger(__name__)

_logged_at: dict[tuple[str, str], float] = {}


def log_failure(what: str, error: BaseException) -> None:
    """Log a failure: a store that is away at WARNING in one line, anything else at ERROR with its stack.

    The same failure is logged once a minute, so that a loop cannot fill the log.
    """
    failure, now = (what, f"{type(error).__name__}: {error}"[:200]), time.monotonic()
    if now - _logged_at.get(failure, -_LOG_AGAIN) < _LOG_AGAIN:
        return
    if len(_logged_at) >= _MOST_REMEMBERED:
        _logged_at.clear()
    _logged_at[failure] = now
    if _is_outage(error):
        logger.warning("%s: %s", what, error)
    else:
        logger.error("%s", what, exc_info=error)


def forget_failures() -> None:
    """Log the next failure whether or not it is known."""
    _logged_at.clear()


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Log an exception of the block and go on behind it. Raises: BackendError, while the store does not answer."""
    try:
        yield
    except Exception as error:
        if _is_outage(error):
            raise
        log_failure(what, error)


async def attempt(what: str, work: Awaitable[_T], otherwise: _T) -> _T:
    """Return what `work` gives, or `otherwise` where `contained` logs its failure. Raises: BackendError, as that."""
    found = otherwise
    with contained(what):
        found = await work
    return found


class Supervised:
    """A task that does `turn` again and again until it is stopped, whatever that raises.

    After a failure it pauses, each time twice as long, `longest` seconds at most.
    """

    def __init__(self, what: str, turn: Callable[[], Awaitable[None]], *, longest: float) -> None:
        """Prepare a task; `what` begins its log lines."""
        self._what, self._turn, self._longest = what, turn, longest
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def failure(self) -> BaseException | None:
        """Return what the last turn raised; None if it succeeded, or none is over."""
        if self._failure is None and self._task is not None and self._task.done():
            return asyncio.CancelledError("the task was cancelled")
        return self._failure

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name=self._what)

    async def stop(self) -> None:
        """Cancel the task, and wait for its end."""
        while self._task is not None and not self._task.done():
            # Again and again: a client that is just connecting may take the cancellation for its own timeout.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)

    async def run(self) -> None:
        """Do the turns, in a task of the caller's."""
        pause = min(_PAUSE, self._longest)
        while True:
            try:
                await self._turn()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._failure = error  # which nobody asked for: something inside was cancelled
            except Exception as error:
                self._failure = error
            else:
                if self._failure is not None:
                    logger.info("%s works again", self._what)
                self._failure, pause = None, min(_PAUSE, self._longest)
                continue
            log_failure(f"{self._what} failed", self._failure)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._longest)


def _is_outage(error: BaseException) -> bool:
    """Return whether the store does not answer, rather than hold what cannot be read."""
    return isinstance(error, BackendError) and not isinstance(error, Unreadable)
