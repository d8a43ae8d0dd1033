"""The threads of synchronous code and their database connections.

Each call has a thread of its own, in which its synchronous code and the asynchronous methods of the ORM run one after
the other, with connections that end with the call. docs/explanation/threads-and-connections.md has the whole model.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import Context, ContextVar, Token
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async

from mcp_transport.concurrency import ConcurrencyLimit, ConcurrencyLimiter
from mcp_transport.connections import close_connections, end_connections, opened_connection, release_connections
from mcp_transport.executor import DaemonThreads, SerialExecutor, call_for_future

__all__ = [
    "CallThread",
    "borrowed_threads",
    "call_function",
    "detached_from_request_thread",
    "end_request_thread",
    "in_thread",
    "neutral_context",
    "release_request_connections",
    "run_limited",
    "shared_thread",
    "thread_like_current",
    "thread_limiter",
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

    __slots__ = ("_before", "_executor", "_is_closed", "_memory", "_outer", "caller", "joins", "renew")

    def __init__(self, *, joins: bool = False, memory: Any = None, caller: str = "") -> None:
        """Hold `memory`, reserved for the request, until its functions return, which have its arguments.

        The functions count as those of `caller`.
        """
        self.caller = caller
        self.joins, self._memory = joins or _shared.get(), memory
        self.renew: Callable[[], AbstractAsyncContextManager[None]] | None = None
        """Returns a context like that of the call, if it has more than this thread."""
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


def borrowed_threads() -> int:
    """Return how many threads of calls are in use; one whose call has ended is, until its connections are closed."""
    return _threads.borrowed


# -- work that several calls share ------------------------------------------------------------------------


def thread_like_current(caller: str | None = None) -> AbstractAsyncContextManager[None]:
    """Return the context of a run that calls share, which is like that of the current call, with its caller.

    With a `caller` it has only a thread, whose functions count as those of this caller.
    """
    current = _current.get()
    if current is None:
        return CallThread(caller=caller or "")
    if caller is not None:
        return CallThread(joins=current.joins, caller=caller)
    return CallThread(joins=current.joins, caller=current.caller) if current.renew is None else current.renew()


def neutral_context(context: Context) -> Context:
    """Return a context with only the variables of this package, and asgiref's, of another one."""
    neutral = Context()
    for variable, value in context.items():
        if variable.name.startswith("mcp_transport") or variable is SyncToAsync.thread_sensitive_context:
            neutral.run(variable.set, value)
    waiting = context.run(getattr, AsyncToSync.executors, "current", None)
    if waiting is not None:
        neutral.run(setattr, AsyncToSync.executors, "current", waiting)
    return neutral


# -- a limit for functions that may never return ---------------------------------------------------------


_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, ConcurrencyLimiter] = WeakKeyDictionary()


def thread_limiter(limit: ConcurrencyLimit) -> ConcurrencyLimiter:
    """Return the limiter of the running loop, which `run_limited` applies from now on."""
    loop = asyncio.get_running_loop()
    if (limiter := _limiters.get(loop)) is None or limiter.limit != limit:
        limiter = _limiters[loop] = ConcurrencyLimiter(limit)
    return limiter


async def run_limited(work: Callable[[], _T], abandoned: Callable[[BaseException], None]) -> _T:
    """Run a declared function in its call's thread, within the limit of the running loop, if it has one.

    A function whose call was cancelled counts until it returns; `abandoned` then receives its exception.

    Raises: Overloaded; the exceptions of the function.
    """
    thread, limiter = _current.get(), _limiters.get(asyncio.get_running_loop())
    if thread is None or thread.joins or limiter is None:
        return await in_thread(work)
    await limiter.acquire(thread.caller)
    function = _LimitedFunction(thread, limiter)
    executor: Any = function  # asgiref uses only `submit`
    try:
        result: _T = await sync_to_async(work, thread_sensitive=False, executor=executor)()
    except asyncio.CancelledError:
        function.abandon(abandoned)
        raise
    return result


class _LimitedFunction(Executor):
    """Runs one function in a call's thread, and gives its place back when it returns."""

    def __init__(self, thread: CallThread, limiter: ConcurrencyLimiter) -> None:
        self._thread, self._limiter, self._loop = thread, limiter, asyncio.get_running_loop()
        self._is_lost = self._has_returned = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        self._future = future = self._thread.executor.submit(fn, *args, **kwargs)
        future.add_done_callback(self._return_anywhere)
        return future

    def abandon(self, receive: Callable[[BaseException], None]) -> None:
        """Count the function as lost until it returns; `receive` then gets its exception."""
        self._future.add_done_callback(partial(_report_error, receive))
        if not self._has_returned:
            self._is_lost = True
            self._limiter.lost += 1

    def _return_anywhere(self, _: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nothing waits
            self._loop.call_soon_threadsafe(self._return)

    def _return(self) -> None:
        self._has_returned = True
        self._limiter.lost -= self._is_lost
        self._limiter.release(self._thread.caller)


def _report_error(abandoned: Callable[[BaseException], None], future: Future[Any]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None and not isinstance(error, asyncio.CancelledError):  # not the cancellation of the call itself
        abandoned(error)


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
