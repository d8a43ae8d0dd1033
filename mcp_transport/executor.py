"""Executors with daemon threads, which do not keep the process alive.

The interpreter joins the threads of `concurrent.futures` when it exits, so one function that never returns would keep
the process alive for ever.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from queue import Empty, SimpleQueue
from typing import Final, ParamSpec, TypeVar

__all__ = ["DaemonThreads", "SerialExecutor", "call_for_future"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# A future refuses the first, so its waiter would wait for ever; it takes the second for its own cancellation; and the
# third closes the coroutines that wait.
_UNSUPPORTED_BY_FUTURES: Final = (StopIteration, CancelledError, GeneratorExit)

logger = logging.getLogger(__name__)


def _do_nothing() -> None: ...


def call_for_future(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a function; exceptions that an asyncio future cannot hold become a RuntimeError, as in PEP 479."""
    try:
        return fn(*args, **kwargs)
    except _UNSUPPORTED_BY_FUTURES as error:
        raise RuntimeError(f"a synchronous function raised {type(error).__name__}") from error


class DaemonThreads:
    """A pool of daemon threads: a thread starts when none is idle, and ends after some idle seconds.

    `clean` runs in a thread before and after each use, `dispose` before the thread ends.
    """

    idle_seconds: float = 5.0
    """After this time idle threads end, and close their connections."""

    def __init__(
        self, name: str, *, clean: Callable[[], None] = _do_nothing, dispose: Callable[[], None] = _do_nothing
    ) -> None:
        self.name, self.clean, self.dispose = name, clean, dispose
        self.borrowed = 0
        """How many threads are in use."""
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # A forked process has none of its parent's threads, and no one releases a lock that one of them held.
        self._lock, self._idle, self.borrowed = threading.Lock(), list[_Worker](), 0

    def borrow(self) -> _Worker:
        """Return an unused thread, preferably the most recently used one, whose caches are warm."""
        with self._lock:
            self.borrowed += 1
            worker = self._idle.pop() if self._idle else None
        worker = worker if worker is not None else _Worker(self)
        worker.clean()
        return worker

    def give_back(self, worker: _Worker) -> None:
        """Return a thread to the pool."""
        with self._lock:
            self.borrowed -= 1
            self._idle.append(worker)

    def discard(self, worker: _Worker) -> bool:
        """Remove an idle thread; return False if it was borrowed in the meantime."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True


class _Worker:
    """A daemon thread that runs functions one after the other."""

    def __init__(self, owner: DaemonThreads) -> None:
        self._owner = owner
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.put: Callable[[Callable[[], None]], None] = self._queue.put
        self._pid = os.getpid()
        threading.Thread(target=self._run, name=owner.name, daemon=True).start()

    def clean(self) -> None:
        """Run `clean` after the functions that were already submitted."""
        self.put(self._clean)

    def finish(self) -> None:
        """Run `clean` after the functions that were already submitted, and return the thread to the pool."""
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
            except BaseException:  # raised in the thread by a function's own watchdog, after its return
                logger.exception("a thread for synchronous code was interrupted")
        self._guarded(self._owner.dispose)

    def _turn(self) -> bool:
        """Run the next function; return False after `idle_seconds` without one."""
        try:
            work = self._queue.get(timeout=self._owner.idle_seconds)
        except Empty:
            return not self._owner.discard(self)
        work()
        if os.getpid() != self._pid:  # a function has forked, and this is its child
            os._exit(1)
        return True

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.exception("cleaning up after synchronous code failed")


class SerialExecutor(Executor):
    """Runs functions one after the other in one thread, which it borrows for the first of them.

    `close`, or garbage collection, gives the thread back after the functions submitted before. A function submitted
    later still runs, in a thread that is borrowed for it alone, so that no thread leaks.
    """

    def __init__(self, threads: DaemonThreads) -> None:
        self._threads = threads
        self._worker: _Worker | None = None
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run a function in the thread."""
        future: Future[_T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = call_for_future(fn, *args, **kwargs)
            except BaseException as error:  # passed to the future's waiter
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
        """Give the thread back after the functions submitted before."""
        with self._lock:
            self._closed = True
            self._give_back()

    def __del__(self) -> None:
        self._give_back()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Close the executor without waiting for functions, which may never return."""
        self.close()

    @property
    def is_used(self) -> bool:
        """Return whether a thread is borrowed."""
        return self._worker is not None

    def _give_back(self) -> None:
        if self._worker is not None:
            self._worker.finish()
            self._worker = None
