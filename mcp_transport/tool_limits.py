"""The limits that a tool's declaration sets for its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mcp_transport.declarations import DeclaredTool
from mcp_transport.kernel import CallLimits
from mcp_transport.signatures import definition_error, inspect_function

__all__ = ["TOOL_LIMITS", "tool_limits"]

TOOL_LIMITS: Final = ("max_concurrency", "timeout", "max_result_bytes", "coalesce", "shared")
"""The options of `@tool` that `tool_limits` takes."""

_MIN_RESULT_BYTES: Final = 1024
"""The minimum of MAX_RESULT_BYTES, too: an error must fit."""


def tool_limits(
    function: Callable[..., Any],
    declaration: DeclaredTool,
    *,
    max_concurrency: Any,
    timeout: Any,
    max_result_bytes: Any,
    coalesce: Any,
    shared: Any,
) -> CallLimits:
    """Check the limits of a tool, and whether its calls may share runs.

    Raises:
        DefinitionError: a limit is not a number, or too small; a tool that is not read-only is to share runs.
    """
    _check(function, "max_concurrency", max_concurrency, int, 1)
    _check(function, "max_result_bytes", max_result_bytes, int, _MIN_RESULT_BYTES)
    _check(function, "timeout", timeout, int | float, 0.001)
    read_only = bool(declaration.annotations and declaration.annotations.read_only_hint)
    if fault := _sharing_fault(function, declaration, read_only, coalesce, shared):
        raise definition_error(function, fault)
    return CallLimits(
        max_concurrency=max_concurrency,
        timeout=timeout,
        max_result_bytes=max_result_bytes,
        uses_thread=not inspect_function(function).is_async,
        read_only=read_only,
        coalesce=bool(coalesce),
        shared=bool(shared),
    )


def _sharing_fault(
    function: Callable[..., Any], declaration: DeclaredTool, read_only: bool, coalesce: Any, shared: Any
) -> str:
    """Return why calls of a tool cannot share runs as declared, or ""."""
    for name, value in (("coalesce", coalesce), ("shared", shared)):
        if not isinstance(value, bool | None):
            return f"{name} must be True or False, got {value!r}"
    if coalesce and not read_only:
        return "coalesce=True needs read_only=True: of two calls that change something, none may be left out"
    if shared and not coalesce:
        return "shared=True needs coalesce=True"
    if shared and (inspect_function(function).contexts or declaration.resolved_params):
        return "shared=True is for functions without a Context and without resolved parameters, which show the caller"
    return ""


def _check(function: Callable[..., Any], name: str, value: Any, kind: Any, minimum: float) -> None:
    if value is None:
        return
    expected = "an integer" if kind is int else "a number"
    # The comparison also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= minimum:
        raise definition_error(function, f"{name} must be {expected}, {minimum:g} or more, got {value!r}")
