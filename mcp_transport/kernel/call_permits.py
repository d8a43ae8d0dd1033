"""The permits that circuit breakers give to calls, and what a tool's function tells about its call."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, Protocol

from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_transport.domain.circuit_breaker import CircuitBreaker, Result
from mcp_transport.kernel.errors import Refused

__all__ = ["CallPermit", "checked", "current_permit", "result_of", "watched"]

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
    it belongs to.
    """
    if isinstance(error, asyncio.CancelledError | Refused | KeyboardInterrupt | GeneratorExit):
        return Result.NOTHING
    kinds = breaker.failures
    if isinstance(error, _DELIBERATE):
        kinds = tuple(kind for kind in kinds if issubclass(kind, _DELIBERATE))
    return Result.FAILURE if isinstance(error, kinds) else Result.SUCCESS


def watched(
    adapted: Callable[..., Coroutine[Any, Any, Any]], breaker: CircuitBreaker, *, waits: bool = False
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap the function of a tool, so that its permit is settled with how each call ends.

    One that `waits` for a thread is also wrapped by `checked`.
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


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a synchronous function, so that calls which have waited for a thread do not begin if it has opened."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if (permit := current_permit.get()) is not None:
            permit.begin()
        return function(*args, **kwargs)

    return run
