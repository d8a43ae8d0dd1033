"""A declared function, as the SDK can call it: threads, Django's connections, our context, Django's types."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mcp.server.mcpserver import Context as SDKContext

from mcp_transport import conf
from mcp_transport.kernel import adopt_context
from mcp_transport.serialization import reads_database, to_wire
from mcp_transport.signatures import read, where
from mcp_transport.threads import in_thread

__all__ = ["adapt", "where"]


def adapt(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap a declared function for the SDK: threads, Django's connections, our context, Django's types.

    Raises:
        DefinitionError: the function cannot be served, and why.
    """
    declared = read(function)
    contexts, is_async = declared.contexts, declared.is_async

    async def run(*args: Any, **kwargs: Any) -> Any:
        for name, kind in contexts.items():
            if isinstance(kwargs.get(name), SDKContext):
                kwargs[name] = adopt_context(kwargs[name], kind)
        if not is_async:
            result = await _in_thread(lambda: to_wire(function(*args, **kwargs)))
            if not inspect.isawaitable(result):
                return result
        else:
            result = function(*args, **kwargs)
        result = await result
        return await _in_thread(lambda: to_wire(result)) if reads_database(result) else to_wire(result)

    described: Callable[..., Coroutine[Any, Any, Any]] = declared.describe(run)
    return described


def _in_thread(work: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
    return in_thread(work, _threads(conf.get("TOOL_THREADS")))


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="mcp-tool")
