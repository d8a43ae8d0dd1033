"""The threads of synchronous code and their database connections.

Each call has a thread of its own, in which its synchronous code and the asynchronous methods of the ORM run one after
the other, with connections that end with the call. docs/explanation/threads-and-connections.md has the whole model.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async

from mcp_transport.connections import close_connections, end_connections, opened_connection, release_connections
from mcp_transport.executor import DaemonThreads, SerialExecutor, call_for_future

__all__ = [
    "CallThread",
    "call_function",
    "detached_from_request_thread",
    "end_request_thread",
    "in_thread",
    "release_request_connections",
    "run_limited",
    "shared_thread",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_threads: Final = DaemonThreads("mcp-call", clean=end_connections, dispose=close_connections)

_current: ContextVar[CallThread | None] = ContextVar("mcp_transport_call_thread", default=None)
_shared: ContextVar[bool] = ContextVar("mcp_transport_shared_thread", default=False)


class CallThread:
    """The thread of one call, or of one request's authentication: borrowed at first use, given back at the end.

    In `async with`, synchronous code of the running task, and of tasks that it creates, runs in this thread. With
    `joins` it runs where asgiref runs its caller's synchronous code, as in a view.
    """

    __slots__ = ("_before", "_executor", "_is_closed", "_memory", "_outer", "joins")

    def __init__(self, *, joins: bool = False, memory: Any = None) -> None:
        """Hold `memory`, reserved for the request, until its functions return, which have its arguments."""
        self.joins, self._memory = joins or _shared.get(), memory
        self._executor: SerialExecutor | None = None
        self._is_closed = False
        self._before: Token[CallThread | None] | None = None
        self._outer: Token[ThreadSensitiveContext] | None = None

    @property
    def executor(self) -> SerialExecutor:
        """Return the executor of the thread."""
        if self._executor is None:
            self._executor = SerialExecutor(_threads)
            if self._is_closed:
                self._executor.close()  # used by a task that outlives the call
        return self._executor

    async def __aenter__(self) -> None:
        self._before = _current.set(self)
        if not self.joins:
            # Like `async with ThreadSensitiveContext(executor=...)`, but 8 µs faster: all calls share one context,
            # which is never exited, so that tasks which outlive their call can use the ORM.
            self._outer = SyncToAsync.thread_sensitive_context.set(_context)

    async def __aexit__(self, kind: object = None, error: object = None, trace: object = None) -> None:
        if self._before is not None:
            _current.reset(self._before)
        if self._outer is not None:
            SyncToAsync.thread_sensitive_context.reset(self._outer)
        self._is_closed = True
        if self._executor is not None:
            if self._memory is not None:
                self._memory.add_holder()
                self._executor.submit(self._memory.release)  # after a function whose caller was cancelled
            self._executor.close()


class _CurrentCall(Executor):
    """Runs each function in the thread of the current call."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        current = _current.get()
        assert current is not None, "the context of calls is entered with a call"  # noqa: S101
        return current.executor.submit(fn, *args, **kwargs)


_executor: Final = _CurrentCall()
_context: Final = ThreadSensitiveContext(executor=_executor)
SyncToAsync.context_to_thread_executor[_context] = _executor


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run synchronous work in the thread of the current call or, without a call, in a borrowed thread."""
    run = sync_to_async(partial(call_for_future, work), thread_sensitive=True)
    if _current.get() is not None:
        return await run()
    async with CallThread():
        return await run()


async def call_function(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a coroutine function, or a synchronous function in the thread of the call, since it may use the ORM."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    result = await in_thread(partial(function, *arguments))
    return await result if inspect.isawaitable(result) else result  # awaitable: a wrapper of a coroutine function


# -- a limit for functions that may never return ---------------------------------------------------------

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def run_limited(work: Callable[[], _T], limit: int, abandoned: Callable[[BaseException], None]) -> _T:
    """Run a declared function in its call's thread; at most `limit` such functions of a loop run at a time.

    A function whose caller was cancelled counts until it returns; `abandoned` then receives its exception.
    """
    thread = _current.get()
    if thread is None or thread.joins:
        return await in_thread(work)
    loop = asyncio.get_running_loop()
    if (slots := _slots.get(loop)) is None:
        slots = _slots[loop] = asyncio.Semaphore(limit)
    await slots.acquire()
    executor: Any = _Limited(thread, partial(_release, loop, slots))  # asgiref uses only `submit`
    try:
        result: _T = await sync_to_async(work, thread_sensitive=False, executor=executor)()
    except asyncio.CancelledError:
        executor.future.add_done_callback(partial(_report_error, abandoned))
        raise
    return result


class _Limited(Executor):
    """Runs one function in a call's thread and calls `returned` after it."""

    def __init__(self, thread: CallThread, returned: Callable[[Any], None]) -> None:
        self._thread, self._returned = thread, returned

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        self.future = future = self._thread.executor.submit(fn, *args, **kwargs)
        future.add_done_callback(self._returned)
        return future


def _report_error(abandoned: Callable[[BaseException], None], future: Future[Any]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None and not isinstance(error, asyncio.CancelledError):  # not the cancellation of the call itself
        abandoned(error)


def _release(loop: asyncio.AbstractEventLoop, slots: asyncio.Semaphore, _: Future[Any]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and nothing waits for a slot
        loop.call_soon_threadsafe(slots.release)


# -- tests -----------------------------------------------------------------------------------------------


@contextmanager
def shared_thread() -> Iterator[None]:
    """Run calls in the thread of the caller's synchronous code, so that they see a test's open transaction."""
    token = _shared.set(True)
    try:
        yield
    finally:
        _shared.reset(token)


# -- the thread of a request that Django's handler serves ------------------------------------------------


@contextmanager
def detached_from_request_thread() -> Iterator[None]:
    """Keep tasks that start here off the thread in which synchronous middleware waits for the running view.

    That thread ends when a streaming response is returned (django/asgiref#526), while its call continues. Middleware
    still needs the thread to process the response.
    """
    waiting = getattr(AsyncToSync.executors, "current", None)
    if _shared.get() or waiting is None:
        yield
        return
    AsyncToSync.executors.current = None
    try:
        yield
    finally:
        AsyncToSync.executors.current = waiting


async def release_request_connections() -> None:
    """Close the connections of the request's middleware: the call needs one of its own, and may take long."""
    if not _shared.get() and opened_connection():
        await sync_to_async(release_connections, thread_sensitive=True)()


def end_request_thread() -> None:
    """End the thread that Django's ASGI handler has created for the request; it creates another one when needed.

    For streams: an open one must keep neither a thread nor the connections that middleware has opened there.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or context is _context:
        return
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.submit(close_connections)
        executor.shutdown(wait=False)
