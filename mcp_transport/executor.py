"""Executors whose threads never keep a process from ending.

The threads of `concurrent.futures` are joined when the interpreter exits, so that one function which never returns
keeps the process alive for ever. These are daemon threads.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from queue import Empty, SimpleQueue
from typing import Final, ParamSpec, TypeVar

__all__ = ["DaemonThreads", "SerialExecutor", "for_future"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# A burst leaves its threads behind for this long; then they end, and what they hold is closed.
_IDLE_SECONDS: Final = 5.0

# A future refuses the first, so that its waiter waits for ever; it takes the second for its own cancellation, and the
# third closes the coroutines that wait.
_NOT_CARRIED: Final = (StopIteration, CancelledError, GeneratorExit)

logger = logging.getLogger(__name__)


def _nothing() -> None: ...


def for_future(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a function for a future of asyncio; what that cannot carry becomes a RuntimeError, as by PEP 479."""
    try:
        return fn(*args, **kwargs)
    except _NOT_CARRIED as error:
        raise RuntimeError(f"a synchronous function raised {type(error).__name__}") from error


class DaemonThreads:
    """A cache of daemon threads: one is started when none is idle, and ends when it was idle for some seconds.

    `clean` runs in a thread before its first use and after its last one, `dispose` before the thread ends.
    """

    def __init__(
        self,
        name: str,
        *,
        clean: Callable[[], None] = _nothing,
        dispose: Callable[[], None] = _nothing,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self.name, self.clean, self.dispose, self.idle_seconds = name, clean, dispose, idle_seconds
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # A forked process has none of its parent's threads, and nobody to release a lock that one of them held.
        self._lock, self._idle = threading.Lock(), list[_Worker]()

    def borrow(self) -> _Worker:
        """Return a thread that nobody else uses; the last one given back, whose caches are warm."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        worker = worker if worker is not None else _Worker(self)
        worker.clean()
        return worker

    def give_back(self, worker: _Worker) -> None:
        """Take a thread back."""
        with self._lock:
            self._idle.append(worker)

    def discard(self, worker: _Worker) -> bool:
        """Forget an idle thread; return False if somebody has borrowed it meanwhile."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True


class _Worker:
    """A daemon thread that does what it is given, one after the other."""

    def __init__(self, owner: DaemonThreads) -> None:
        self._owner = owner
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.put: Callable[[Callable[[], None]], None] = self._queue.put
        self._pid = os.getpid()
        threading.Thread(target=self._run, name=owner.name, daemon=True).start()

    def clean(self) -> None:
        """Clean the thread after what it was given."""
        self.put(self._clean)

    def finish(self) -> None:
        """Clean the thread after what it was given, and make it available again."""
        self.clean()
        self.put(self._finish)

    def _clean(self) -> None:
        self._guarded(self._owner.clean)

    def _finish(self) -> None:
        self._owner.give_back(self)

    def _run(self) -> None:
        while True:
            try:
                if not self._turn():
                    break
            except BaseException:  # which a function's own watchdog may raise in its thread when that is idle again
                logger.exception("a thread for synchronous code was interrupted")
        self._guarded(self._owner.dispose)

    def _turn(self) -> bool:
        """Do what comes next; return False when nothing has come for long."""
        try:
            work = self._queue.get(timeout=self._owner.idle_seconds)
        except Empty:
            return not self._owner.discard(self)
        work()
        if os.getpid() != self._pid:  # a function has forked, and its child has come this far
            os._exit(1)
        return True

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.exception("cleaning up after synchronous code failed")


class SerialExecutor(Executor):
    """Runs functions one after the other in one thread, which it borrows with the first of them.

    `close` gives the thread back after what was submitted before, and so does the end of an executor that nobody has
    any more. What is submitted later runs all the same, each function in a thread borrowed for it alone, so that
    nothing stays behind.
    """

    def __init__(self, threads: DaemonThreads) -> None:
        self._threads = threads
        self._worker: _Worker | None = None
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have a function run in the thread."""
        future: Future[_T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = for_future(fn, *args, **kwargs)
            except BaseException as error:  # whoever waits for it gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._worker is None:
                self._worker = self._threads.borrow()
            self._worker.put(work)
            if self._closed:
                self._give_back()
        return future

    def close(self) -> None:
        """Give the thread back, when what was submitted before is done."""
        with self._lock:
            self._closed = True
            self._give_back()

    def __del__(self) -> None:
        self._give_back()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Close it; nobody waits for a function that may never return."""
        self.close()

    @property
    def is_used(self) -> bool:
        """Tell whether a thread is borrowed."""
        return self._worker is not None

    def _give_back(self) -> None:
        if self._worker is not None:
            self._worker.finish()
            self._worker = None
