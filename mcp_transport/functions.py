"""A declared function, as the SDK can call it: threads, Django's connections, our context, Django's types."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mcp.server.mcpserver import Context as SDKContext

from mcp_transport import conf
from mcp_transport.context import Context
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import adopt_context
from mcp_transport.serialization import reads_database, to_wire, wire_annotation
from mcp_transport.threads import in_thread

__all__ = ["adapt", "where"]


def adapt(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap a declared function for the SDK: threads, Django's connections, our context, Django's types."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"{where(function)}: the annotation {error.name!r} cannot be resolved") from error
    contexts = [name for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, SDKContext)]
    is_async = inspect.iscoroutinefunction(function)

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        for name in contexts:
            if isinstance(kwargs.get(name), SDKContext):
                kwargs[name] = adopt_context(kwargs[name], Context)
        if not is_async:
            return await _in_thread(lambda: to_wire(function(*args, **kwargs)))
        result = await function(*args, **kwargs)
        return await _in_thread(lambda: to_wire(result)) if reads_database(result) else to_wire(result)

    if "return" in hints:
        hints["return"] = wire_annotation(hints["return"])
    signature = inspect.signature(function)
    _refuse_unnamed_parameters(function, signature)
    parameters = [
        item.replace(annotation=hints.get(item.name, item.annotation)) for item in signature.parameters.values()
    ]
    returns = hints.get("return", inspect.Signature.empty)
    run.__signature__ = signature.replace(parameters=parameters, return_annotation=returns)  # type: ignore[attr-defined]
    run.__annotations__ = hints
    return run


def _refuse_unnamed_parameters(function: Callable[..., Any], signature: inspect.Signature) -> None:
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    for parameter in signature.parameters.values():
        if parameter.kind in unnamed:
            raise DefinitionError(
                f"{where(function)}: the parameter {str(parameter)!r} cannot be passed by name, as arguments are"
            )


def _in_thread(work: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
    return in_thread(work, _threads(conf.get("TOOL_THREADS")))


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="mcp-tool")


def where(function: Callable[..., Any]) -> str:
    """Name a function as a developer finds it."""
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
