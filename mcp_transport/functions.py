"""A declared function, as the SDK can call it: threads, Django's connections, our context, Django's types."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from django.db import connections, transaction
from mcp.server.mcpserver import Context as SDKContext

from mcp_transport import conf
from mcp_transport.context import Context
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import adopt_context
from mcp_transport.serialization import reads_database, to_wire, wire_annotation
from mcp_transport.threads import in_thread, run_limited

__all__ = ["adapt", "databases_with_atomic_requests", "where"]


def adapt(function: Callable[..., Any], *, atomic: bool = True) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap a declared function for the SDK: threads, transactions, our context, Django's types.

    A synchronous function that is `atomic` runs in a transaction where ATOMIC_REQUESTS asks for one.
    """
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
            return await run_limited(lambda: _run(function, atomic, args, kwargs), conf.get("TOOL_THREADS"))
        result = await function(*args, **kwargs)
        return await in_thread(lambda: to_wire(result)) if reads_database(result) else to_wire(result)

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


def _run(function: Callable[..., Any], atomic: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a synchronous function, in the transactions that ATOMIC_REQUESTS asks for, and read what is lazy."""
    with ExitStack() as transactions:
        for alias in databases_with_atomic_requests(function) if atomic else ():
            transactions.enter_context(transaction.atomic(using=alias))
        return to_wire(function(*args, **kwargs))


def databases_with_atomic_requests(function: Callable[..., Any]) -> list[str]:
    """Return the databases in a transaction of which Django would run a view, this function."""
    exempt = getattr(function, "_non_atomic_requests", ())  # by transaction.non_atomic_requests
    return [
        alias for alias, options in connections.settings.items() if options["ATOMIC_REQUESTS"] and alias not in exempt
    ]


def where(function: Callable[..., Any]) -> str:
    """Name a function as a developer finds it."""
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
