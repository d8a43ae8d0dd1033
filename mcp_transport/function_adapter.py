"""Adapts declared functions to the SDK: threads, database connections, our context, Django's types."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any

from django.db import connections, transaction
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport.exceptions import Overloaded
from mcp_transport.kernel import MCPError, Refused, begin_call, convert_context, note_failure
from mcp_transport.protocol.errors import overloaded
from mcp_transport.serialization import to_wire, to_wire_async
from mcp_transport.signatures import definition_error, inspect_function, qualified_name
from mcp_transport.threads import run_limited

logger = logging.getLogger(__name__)

__all__ = ["adapt", "databases_with_atomic_requests", "definition_error", "qualified_name"]


def adapt(
    function: Callable[..., Any], *, atomic: bool = True, permitted: bool = False
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap a declared function for the SDK.

    A synchronous function that is `atomic` runs in a transaction on databases with ATOMIC_REQUESTS. Calls that are
    `permitted` have the permit of a circuit breaker, which is asked once more when the function is to be called.

    Raises:
        DefinitionError: the function cannot be served.
    """
    inspected = inspect_function(function)
    contexts, aliases, is_async = inspected.contexts, inspected.aliases, inspected.is_async

    async def run(*args: Any, **kwargs: Any) -> Any:
        for name, kind in contexts.items():
            if isinstance(kwargs.get(name), SDKContext):
                kwargs[name] = convert_context(kwargs[name], kind)
        if aliases:
            kwargs = {aliases.get(name, name): value for name, value in kwargs.items()}
        try:
            if is_async:
                if permitted:
                    begin_call()
                return await to_wire_async(await function(*args, **kwargs))
            work = partial(_run, function, atomic, args, kwargs)
            work = partial(_run_permitted, work) if permitted else work
            log = partial(_log_abandoned, qualified_name(function))
            result = await run_limited(work, log)
            return await to_wire_async(await result) if inspect.isawaitable(result) else result
        except Overloaded as error:
            raise Refused(overloaded(error)) from None
        except MCPError as error:
            error.error.data = await to_wire_async(error.data)
            raise
        except Exception as error:  # on the SDK's own path, nobody else sees its class
            note_failure(error)
            raise

    adapted: Callable[..., Coroutine[Any, Any, Any]] = inspected.describe(run)
    return adapted


def _run_permitted(work: Callable[[], Any]) -> Any:
    """Run a function that may have waited for a thread, unless its circuit has opened meanwhile."""
    begin_call()
    return work()


def _run(function: Callable[..., Any], atomic: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a synchronous function in the transactions of ATOMIC_REQUESTS, and evaluate lazy results."""
    with ExitStack() as transactions:
        for alias in databases_with_atomic_requests(function) if atomic else ():
            transactions.enter_context(transaction.atomic(using=alias))
        result = function(*args, **kwargs)
        return result if inspect.isawaitable(result) else to_wire(result)  # a wrapper of a coroutine function


def _log_abandoned(name: str, error: BaseException) -> None:
    """Log the exception of a function whose caller has disconnected and will not receive it."""
    if isinstance(error, ToolError):
        logger.info("%s raised ToolError after its caller had disconnected", name)
    else:
        logger.error("%s failed after its caller had disconnected", name, exc_info=error)


def databases_with_atomic_requests(function: Callable[..., Any]) -> list[str]:
    """Return the databases on which Django would run this function, if it were a view, in a transaction."""
    exempt = getattr(function, "_non_atomic_requests", ())  # set by transaction.non_atomic_requests
    databases = connections.settings.items()
    return [alias for alias, options in databases if options["ATOMIC_REQUESTS"] and alias not in exempt]
