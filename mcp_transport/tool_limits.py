"""The limits that a tool's declaration sets for its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mcp_transport.domain.circuit_breaker import CircuitBreaker
from mcp_transport.kernel import CallLimits
from mcp_transport.signatures import definition_error, inspect_function

__all__ = ["TOOL_LIMITS", "tool_limits"]

TOOL_LIMITS: Final = ("max_concurrency", "timeout", "max_result_bytes", "circuit_breaker")
"""The options of `@tool` that `tool_limits` takes."""

_MIN_RESULT_BYTES: Final = 1024
"""The minimum of MAX_RESULT_BYTES, too: an error must fit."""


def tool_limits(
    function: Callable[..., Any], *, max_concurrency: Any, timeout: Any, max_result_bytes: Any, circuit_breaker: Any
) -> CallLimits:
    """Check the limits of a tool.

    Raises:
        DefinitionError: a limit is not a number, or too small; the circuit breaker is none.
    """
    _check(function, "max_concurrency", max_concurrency, int, 1)
    _check(function, "max_result_bytes", max_result_bytes, int, _MIN_RESULT_BYTES)
    _check(function, "timeout", timeout, int | float, 0.001)
    return CallLimits(
        max_concurrency=max_concurrency,
        timeout=timeout,
        max_result_bytes=max_result_bytes,
        circuit_breaker=_circuit_breaker(function, circuit_breaker),
        uses_thread=not inspect_function(function).is_async,
    )


def _circuit_breaker(function: Callable[..., Any], value: Any) -> CircuitBreaker | None:
    if value is None or value is False:
        return None
    if value is True:
        return CircuitBreaker()
    if not isinstance(value, CircuitBreaker):
        raise definition_error(function, f"circuit_breaker must be a CircuitBreaker or True, got {value!r}")
    return value


def _check(function: Callable[..., Any], name: str, value: Any, kind: Any, minimum: float) -> None:
    if value is None:
        return
    expected = "an integer" if kind is int else "a number"
    # The comparison also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= minimum:
        raise definition_error(function, f"{name} must be {expected}, {minimum:g} or more, got {value!r}")
