"""The limits that a tool's declaration sets for its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mcp_transport.kernel import CallLimits
from mcp_transport.signatures import definition_error, inspect_function

__all__ = ["TOOL_LIMITS", "tool_limits"]

TOOL_LIMITS: Final = ("max_concurrency", "timeout", "max_result_bytes")
"""The options of `@tool` that `tool_limits` takes."""

_MIN_RESULT_BYTES: Final = 1024
"""The minimum of MAX_RESULT_BYTES, too: an error must fit."""


def tool_limits(
    function: Callable[..., Any], *, max_concurrency: Any, timeout: Any, max_result_bytes: Any
) -> CallLimits:
    """Check the limits of a tool.

    Raises:
        DefinitionError: a limit is not a number, or too small.
    """
    _check(function, "max_concurrency", max_concurrency, int, 1)
    _check(function, "max_result_bytes", max_result_bytes, int, _MIN_RESULT_BYTES)
    _check(function, "timeout", timeout, int | float, 0.001)
    return CallLimits(
        max_concurrency=max_concurrency,
        timeout=timeout,
        max_result_bytes=max_result_bytes,
        uses_thread=not inspect_function(function).is_async,
    )


def _check(function: Callable[..., Any], name: str, value: Any, kind: Any, minimum: float) -> None:
    if value is None:
        return
    expected = "an integer" if kind is int else "a number"
    # The comparison also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= minimum:
        raise definition_error(function, f"{name} must be {expected}, {minimum:g} or more, got {value!r}")
