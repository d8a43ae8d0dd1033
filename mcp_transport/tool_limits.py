"""The limits that a tool's declaration sets for its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mcp_transport.declarations import DeclaredTool
from mcp_transport.domain.circuit_breaker import CircuitBreaker
from mcp_transport.kernel import CallLimits
from mcp_transport.signatures import definition_error, inspect_function

__all__ = ["TOOL_LIMITS", "check_shared", "tool_limits"]

TOOL_LIMITS: Final = ("max_concurrency", "timeout", "max_result_bytes", "circuit_breaker", "coalesce", "shared")
"""The options of `@tool` that `tool_limits` takes."""

_MIN_RESULT_BYTES: Final = 1024
"""The minimum of MAX_RESULT_BYTES, too: an error must fit."""


def tool_limits(
    function: Callable[..., Any],
    *,
    read_only: bool,
    max_concurrency: Any,
    timeout: Any,
    max_result_bytes: Any,
    circuit_breaker: Any,
    coalesce: Any,
    shared: Any,
) -> CallLimits:
    """Check the limits of a tool, its circuit breaker, and whether its calls may share runs.

    Raises:
        DefinitionError: a limit is not a number, or too small; the circuit breaker is none; a tool that is not
            read-only is to share runs.
    """
    _check(function, "max_concurrency", max_concurrency, int, 1)
    _check(function, "max_result_bytes", max_result_bytes, int, _MIN_RESULT_BYTES)
    _check(function, "timeout", timeout, int | float, 0.001)
    if fault := _sharing_fault(read_only, coalesce, shared):
        raise definition_error(function, fault)
    return CallLimits(
        max_concurrency=max_concurrency,
        timeout=timeout,
        max_result_bytes=max_result_bytes,
        circuit_breaker=_circuit_breaker(function, circuit_breaker),
        uses_thread=not inspect_function(function).is_async,
        read_only=read_only,
        coalesce=bool(coalesce),
        shared=bool(shared),
    )


def check_shared(function: Callable[..., Any], declaration: DeclaredTool, *, is_batched: bool) -> None:
    """Check that the function of a tool whose runs callers share cannot see a caller. Raises: DefinitionError."""
    if not declaration.limits.shared:
        return
    if is_batched:
        raise definition_error(
            function, "shared=True and batch exclude each other: a batch has the callers of its calls"
        )
    if inspect_function(function).contexts or declaration.resolved_params:
        raise definition_error(
            function,
            "shared=True is for functions without a Context and without resolved parameters, which show the caller",
        )


def _circuit_breaker(function: Callable[..., Any], value: Any) -> CircuitBreaker | None:
    if value is None or value is False:
        return None
    if value is True:
        return CircuitBreaker()
    if not isinstance(value, CircuitBreaker):
        raise definition_error(function, f"circuit_breaker must be a CircuitBreaker or True, got {value!r}")
    return value


def _sharing_fault(read_only: bool, coalesce: Any, shared: Any) -> str:
    """Return why calls of a tool cannot share runs as declared, or ""."""
    for name, value in (("coalesce", coalesce), ("shared", shared)):
        if not isinstance(value, bool | None):
            return f"{name} must be True or False, got {value!r}"
    if coalesce and not read_only:
        return "coalesce=True needs read_only=True: of two calls that change something, none may be left out"
    if shared and not coalesce:
        return "shared=True needs coalesce=True"
    return ""


def _check(function: Callable[..., Any], name: str, value: Any, kind: Any, minimum: float) -> None:
    if value is None:
        return
    expected = "an integer" if kind is int else "a number"
    # The comparison also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= minimum:
        raise definition_error(function, f"{name} must be {expected}, {minimum:g} or more, got {value!r}")
