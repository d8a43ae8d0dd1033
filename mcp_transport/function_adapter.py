"""A declared function, as the SDK can call it: threads, Django's connections, our context, Django's types."""

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

from mcp_transport import conf
from mcp_transport.kernel import MCPError, convert_context
from mcp_transport.serialization import sent, to_wire
from mcp_transport.signatures import read, refusal, where
from mcp_transport.threads import run_limited

logger = logging.getLogger(__name__)

__all__ = ["adapt", "databases_with_atomic_requests", "refusal", "where"]


def adapt(function: Callable[..., Any], *, atomic: bool = True) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap a declared function for the SDK: threads, transactions, our context, Django's types.

    A synchronous function that is `atomic` runs in a transaction where ATOMIC_REQUESTS asks for one.

    Raises:
        DefinitionError: the function cannot be served, and why.
    """
    declared = read(function)
    contexts, aliases, is_async = declared.contexts, declared.aliases, declared.is_async

    async def run(*args: Any, **kwargs: Any) -> Any:
        for name, kind in contexts.items():
            if isinstance(kwargs.get(name), SDKContext):
                kwargs[name] = convert_context(kwargs[name], kind)
        if aliases:
            kwargs = {aliases.get(name, name): value for name, value in kwargs.items()}
        try:
            if is_async:
                return await sent(await function(*args, **kwargs))
            work = partial(_run, function, atomic, args, kwargs)
            result = await run_limited(work, conf.get("TOOL_THREADS"), partial(_log_abandoned, where(function)))
            return await sent(await result) if inspect.isawaitable(result) else result
        except MCPError as error:
            error.error.data = await sent(error.data)
            raise

    described: Callable[..., Coroutine[Any, Any, Any]] = declared.describe(run)
    return described


def _run(function: Callable[..., Any], atomic: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a synchronous function, in the transactions that ATOMIC_REQUESTS asks for, and read what is lazy."""
    with ExitStack() as transactions:
        for alias in databases_with_atomic_requests(function) if atomic else ():
            transactions.enter_context(transaction.atomic(using=alias))
        result = function(*args, **kwargs)
        return result if inspect.isawaitable(result) else to_wire(result)  # a wrapper of a coroutine function


def _log_abandoned(name: str, error: BaseException) -> None:
    """Log what a function raises whose caller waits no longer, so that nobody else does."""
    if isinstance(error, ToolError):
        logger.info("%s refused a call whose caller had left", name)
    else:
        logger.error("%s failed in a call whose caller had left", name, exc_info=error)


def databases_with_atomic_requests(function: Callable[..., Any]) -> list[str]:
    """Return the databases in a transaction of which Django would run a view, this function."""
    exempt = getattr(function, "_non_atomic_requests", ())  # by transaction.non_atomic_requests
    return [
        alias for alias, options in connections.settings.items() if options["ATOMIC_REQUESTS"] and alias not in exempt
    ]
