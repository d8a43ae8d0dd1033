"""The permits that circuit breakers give to calls, and what a tool's function tells about its call."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, Final, Protocol

from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_transport.domain.circuit_breaker import CircuitBreaker, Result
from mcp_transport.kernel.errors import Refused

__all__ = ["CallPermit", "SharedPermits", "begin_call", "current_permit", "result_of", "settle_call", "watched"]

_DELIBERATE: Final = (ToolError, MCPError)


class CallPermit(Protocol):
    """The permission to run one call."""

    has_started: bool
    """Has the function of the tool been called?"""

    def begin(self) -> None:
        """Record, on any thread, that the function is called. Raises: Overloaded if the circuit has opened before."""

    def settle(self, result: Result) -> None:
        """Count the result of the call, the first time this is called."""


current_permit: Final[ContextVar[CallPermit | None]] = ContextVar("mcp_transport_call_permit", default=None)


def result_of(breaker: CircuitBreaker, error: BaseException) -> Result:
    """Return what an exception of a tool's function tells.

    A ToolError or MCPError is an answer: a failure only if `failures` has its class, or a subclass of these two that
    it belongs to. An exception group tells what its exceptions tell.
    """
    if isinstance(error, asyncio.CancelledError | Refused | KeyboardInterrupt | GeneratorExit):
        return Result.NOTHING
    kinds = breaker.failures
    if isinstance(error, BaseExceptionGroup):
        if isinstance(error, tuple(kind for kind in kinds if issubclass(kind, BaseExceptionGroup))):
            return Result.FAILURE
        return _worst({result_of(breaker, each) for each in error.exceptions})
    if isinstance(error, _DELIBERATE):
        kinds = tuple(kind for kind in kinds if issubclass(kind, _DELIBERATE))
    return Result.FAILURE if isinstance(error, kinds) else Result.SUCCESS


def _worst(results: set[Result]) -> Result:
    return next(each for each in (Result.FAILURE, Result.SUCCESS, Result.NOTHING) if each in results)


def begin_call() -> None:
    """Record, on any thread, that the call's function is called. Raises: Overloaded if it may not be any more."""
    if (permit := current_permit.get()) is not None:
        permit.begin()


def settle_call(result: Result) -> None:
    """Count the result of the call, unless one has been counted."""
    if (permit := current_permit.get()) is not None:
        permit.settle(result)


class SharedPermits(CallPermit):
    """The permits of several calls whose function is called once; each call settles its own."""

    def __init__(self, permits: Sequence[CallPermit]) -> None:
        self._permits = permits
        self.has_started = False

    def begin(self) -> None:
        """Begin all of them. Raises: Overloaded if the circuit has opened since one was given."""
        self.has_started = True
        for permit in self._permits:
            permit.begin()

    def settle(self, result: Result) -> None:
        """Do nothing."""


def watched(
    adapted: Callable[..., Coroutine[Any, Any, Any]], breaker: CircuitBreaker, *, waits: bool = False
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap the function of a tool, so that its permit is settled with how each call ends.

    One that `waits` before it is called, such as for a thread, calls `begin_call` then.
    """

    @functools.wraps(adapted)
    async def run(*args: Any, **kwargs: Any) -> Any:
        permit = current_permit.get()
        if permit is None:
            return await adapted(*args, **kwargs)
        permit.has_started = not waits
        try:
            result = await adapted(*args, **kwargs)
        except BaseException as error:
            permit.settle(result_of(breaker, error))
            raise
        permit.settle(Result.SUCCESS)
        return result

    return run
