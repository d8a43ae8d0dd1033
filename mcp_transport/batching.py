"""Batches of calls: several calls of one tool that share one run of its function.

Each waiting call has a future of its own, and the run is a task of its own: the cancellation of a call reaches
neither the run nor another call, unless no call waits any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from mcp_transport.domain.metrics import Histogram
from mcp_transport.exceptions import DefinitionError

__all__ = [
    "Batch",
    "BatchCounts",
    "BatchFailed",
    "BatchMetrics",
    "Batcher",
    "checked_results",
    "observe_batches",
]

_ItemT = TypeVar("_ItemT")

_MAX_WAIT_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How the calls of a tool are batched: `@tool(batch=Batch(max_size=50, max_wait_ms=10))`.

    A batch runs when it has `max_size` calls, or `max_wait_ms` after its first one, in milliseconds; with 0 it has
    the calls that arrive in the same iteration of the event loop. By default a batch has calls of one caller only,
    whose requests have the same address, path and headers; with `across_callers` it has those of any callers.

    Raises:
        DefinitionError: a value is not possible.
    """

    max_size: int = 50
    max_wait_ms: float = 10
    across_callers: bool = False

    def __post_init__(self) -> None:
        size: Any = self.max_size
        wait: Any = self.max_wait_ms
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise DefinitionError(f"Batch: max_size must be an integer, 1 or more, got {size!r}")
        # The comparison also refuses NaN.
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= _MAX_WAIT_MS:
            raise DefinitionError(f"Batch: max_wait_ms must be a number from 0 to {_MAX_WAIT_MS}, got {wait!r}")
        if not isinstance(self.across_callers, bool):
            raise DefinitionError(f"Batch: across_callers must be True or False, got {self.across_callers!r}")


class BatchFailed(Exception):
    """The run of a batch failed; another call of the batch raises its exception, which is the cause of this one."""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """The batches of one tool since the process started."""

    sizes: Counter[int]
    """Batches by their number of calls."""
    waits: Histogram
    """How long each call has waited for its batch to run."""


_record: Callable[[int], None] | None = None


def observe_batches(record: Callable[[int], None]) -> None:
    """Have `record` called with the number of calls of each batch of this process, in place of an earlier one."""
    global _record
    _record = record


class BatchMetrics:
    """Counts the batches of one tool; thread-safe, since each event loop of a process has batches of its own."""

    def __init__(self) -> None:
        self._lock, self._sizes, self._waits = threading.Lock(), Counter[int](), Histogram()

    def record(self, waits: Sequence[float]) -> None:
        """Count a batch that runs, whose calls have waited so many seconds."""
        with self._lock:
            self._sizes[len(waits)] += 1
            for seconds in waits:
                self._waits.add(seconds)
        if _record is not None:
            _record(len(waits))

    def counts(self) -> BatchCounts:
        """Return a copy of the counts."""
        with self._lock:
            return BatchCounts(self._sizes.copy(), Histogram.from_json(self._waits.to_json()))


def checked_results(results: Any, expected: int) -> Sequence[Any]:
    """Return the results of a batch.

    Raises:
        DefinitionError: they are not a list of `expected` results.
    """
    rule = "a batched tool must return a list with one result or exception for each call, in order"
    if not isinstance(results, list | tuple):
        raise DefinitionError(f"{rule}: expected a list of {expected}, got {type(results).__name__}")
    if len(results) != expected:
        raise DefinitionError(f"{rule}: expected {expected}, got {len(results)}")
    return results


@dataclass(slots=True, eq=False)
class _Waiter(Generic[_ItemT]):
    """A call that waits: for its batch to run, then for its result."""

    item: _ItemT
    context: Context
    since: float
    future: asyncio.Future[_Outcome]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a call returns or raises. An exception in a future that nobody awaits would be logged."""

    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Pending(Generic[_ItemT]):
    """A batch: its waiting calls, the handle that starts its run, the run once it has started."""

    key: Hashable
    waiters: list[_Waiter[_ItemT]] = field(default_factory=list)
    handle: asyncio.Handle | None = None
    task: asyncio.Task[None] | None = None


_PendingByKey = dict[Hashable, _Pending[_ItemT]]


class Batcher(Generic[_ItemT]):
    """Collects calls into batches, for each event loop and key, and runs a function for each batch.

    The function gets the items of the calls, and returns a result or an exception for each. It runs in a task with
    the context that `context_of` makes of the first call's.
    """

    def __init__(
        self,
        batch: Batch,
        run: Callable[[list[_ItemT]], Awaitable[Sequence[Any]]],
        context_of: Callable[[Context], Context] = lambda context: context,
    ) -> None:
        self.metrics = BatchMetrics()
        self._batch, self._run, self._context_of = batch, run, context_of
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _PendingByKey[_ItemT]] = WeakKeyDictionary()

    async def call(self, key: Hashable, item: _ItemT) -> Any:
        """Wait for a batch of calls with an equal `key`, and return the result of this one.

        Raises:
            BatchFailed: the run failed, and another call raises its exception.
            BaseException: the run returned this exception for this call, or failed with it.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(item, copy_context(), loop.time(), loop.create_future())
        batch = self._join(loop, key, waiter)
        try:
            outcome = await waiter.future
        except asyncio.CancelledError:
            await self._leave(loop, batch, waiter)
            raise
        if outcome.error is not None:
            raise _as_returned(outcome.error)
        return outcome.value

    def _join(self, loop: asyncio.AbstractEventLoop, key: Hashable, waiter: _Waiter[_ItemT]) -> _Pending[_ItemT]:
        pending = self._loops.setdefault(loop, {})
        if (batch := pending.get(key)) is None:
            batch = pending[key] = _Pending(key)
            seconds = self._batch.max_wait_ms / 1000
            batch.handle = (
                loop.call_later(seconds, self._start, loop, batch)
                if seconds
                else loop.call_soon(self._start, loop, batch)
            )
        batch.waiters.append(waiter)
        if len(batch.waiters) >= self._batch.max_size:
            self._start(loop, batch)
        return batch

    async def _leave(self, loop: asyncio.AbstractEventLoop, batch: _Pending[_ItemT], waiter: _Waiter[_ItemT]) -> None:
        """Withdraw a cancelled call; the last one ends the batch, and waits until its run has ended."""
        if waiter not in batch.waiters:
            return  # it has a result
        batch.waiters.remove(waiter)
        if batch.waiters:
            return
        if batch.task is None:
            self._close(loop, batch)
        else:
            batch.task.cancel()
            await asyncio.wait([batch.task])

    def _close(self, loop: asyncio.AbstractEventLoop, batch: _Pending[_ItemT]) -> None:
        """Let no call join a batch any more."""
        del self._loops[loop][batch.key]
        if batch.handle is not None:
            batch.handle.cancel()
            batch.handle = None

    def _start(self, loop: asyncio.AbstractEventLoop, batch: _Pending[_ItemT]) -> None:
        self._close(loop, batch)
        now = loop.time()
        self.metrics.record([now - waiter.since for waiter in batch.waiters])
        context = self._context_of(batch.waiters[0].context)
        batch.task = loop.create_task(self._serve(batch), context=context)
        # Of a task that was cancelled, also before its first step: no call may be taken for cancelled.
        batch.task.add_done_callback(lambda _: _settle(batch, _Outcome(error=_ended())))

    async def _serve(self, batch: _Pending[_ItemT]) -> None:
        """Run the function for the calls that wait now, and answer those that still wait at its end."""
        waiters = tuple(batch.waiters)
        try:
            results = checked_results(await self._run([waiter.item for waiter in waiters]), len(waiters))
        except (asyncio.CancelledError, GeneratorExit):  # calls that wait nevertheless get an error of their own
            raise
        except BaseException as error:  # raised in one of the calls
            _settle(batch, _outcome(error))
            return
        for waiter, result in zip(waiters, results, strict=True):
            _answer(waiter, _outcome(result))
        batch.waiters.clear()


def _outcome(result: Any) -> _Outcome:
    if not isinstance(result, BaseException):
        return _Outcome(result)
    if isinstance(result, Exception):
        return _Outcome(error=result)
    # This one, such as the CancelledError of a task that the function has awaited, would end more than a call.
    error = RuntimeError(f"a batched call ended with {type(result).__name__}")
    return _Outcome(error=error.with_traceback(result.__traceback__))


def _as_returned(error: BaseException) -> BaseException:
    """Return an exception without the tracebacks of earlier calls that have raised it, which would add up."""
    returned = entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code is Batcher.call.__code__:
            returned = entry.tb_next
        entry = entry.tb_next
    return error.with_traceback(returned)


def _ended() -> RuntimeError:
    return RuntimeError("the run of a batch was cancelled, although calls waited for it")


def _settle(batch: _Pending[Any], outcome: _Outcome) -> None:
    """Give the first waiting call an outcome, and the others an error that refers to it."""
    waiters, batch.waiters = batch.waiters, []
    for number, waiter in enumerate(waiters):
        _answer(waiter, outcome if not number else _Outcome(error=_failed(outcome.error)))


def _failed(cause: BaseException | None) -> BatchFailed:
    error = BatchFailed("the run of the call's batch failed")
    error.__cause__ = cause
    return error


def _answer(waiter: _Waiter[Any], outcome: _Outcome) -> None:
    if not waiter.future.done():  # its call was cancelled otherwise
        waiter.future.set_result(outcome)
