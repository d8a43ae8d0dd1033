"""Adapts the functions of batched tools: each call joins a batch, for which the function is called once."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context as ContextVariables
from typing import Any, Final

from django.db import DatabaseError, connections
from django.utils import translation
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport.batch_signatures import BatchSignature, batch_signature
from mcp_transport.batching import Batch, Batcher, BatchFailed, BatchMetrics, checked_results
from mcp_transport.domain.circuit_breaker import CircuitBreaker, Result
from mcp_transport.function_adapter import adapt, definition_error, qualified_name
from mcp_transport.kernel import (
    CallLimits,
    CallPermit,
    MCPError,
    SharedPermits,
    convert_context,
    current_permit,
    result_of,
    settle_call,
)
from mcp_transport.protocol.headers import CORRELATION_HEADERS
from mcp_transport.serialization import to_wire, to_wire_async
from mcp_transport.threads import neutral_context, thread_like_current

__all__ = ["adapt_tool", "batch_metrics"]

# Headers in which the requests of one batch may differ; those of the message itself are among them.
_OF_ONE_REQUEST: Final = CORRELATION_HEADERS | {
    *("content-length", "idempotency-key", "last-event-id", "mcp-method", "mcp-name"),
}
_OF_ARGUMENTS: Final = "mcp-param-"

_Item = tuple[Any, SDKContext[Any, Any], CallPermit | None]


class _Results:
    """The results of a batch as plain data; a class of its own, so that nothing looks into it."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


def adapt_tool(
    function: Callable[..., Any], batch: Any, *, atomic: bool, limits: CallLimits
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap a declared function for the SDK; with a `batch`, the function gets the calls of a batch in a list.

    Raises:
        DefinitionError: the function cannot be served.
    """
    if batch is None:
        return adapt(function, atomic=atomic, permitted=limits.circuit_breaker is not None)
    if not isinstance(batch, Batch):
        raise definition_error(function, f"batch must be a Batch, as in batch=Batch(max_size=50), got {batch!r}")
    if limits.max_concurrency is not None and limits.max_concurrency < batch.max_size:
        raise definition_error(
            function,
            f"max_concurrency counts calls, also those that wait in a batch, so it must be max_size or "
            f"more ({batch.max_size}), got {limits.max_concurrency}",
        )
    return _adapt_batched(function, batch, atomic, limits.circuit_breaker)


def batch_metrics(adapted: Callable[..., Any]) -> BatchMetrics | None:
    """Return the metrics of the batches of an adapted function; None if it is not batched."""
    return getattr(adapted, "_batch_metrics", None)


def _adapt_batched(
    function: Callable[..., Any], batch: Batch, atomic: bool, breaker: CircuitBreaker | None
) -> Callable[..., Any]:
    signature = batch_signature(function)
    call_all = adapt(_converting(function, signature), atomic=atomic, permitted=breaker is not None)
    # A batch of several callers runs in no caller's context, and its thread counts as no caller's.
    caller = f"batches of {qualified_name(function)}" if batch.across_callers else None

    async def run_all(items: list[_Item]) -> Sequence[Any]:
        arguments: dict[str, Any] = {signature.items: [item for item, _, _ in items]}
        if signature.contexts:
            kind = signature.context_kind
            arguments[signature.contexts] = [convert_context(context, kind) for _, context, _ in items]
        if breaker is not None:
            current_permit.set(SharedPermits([permit for _, _, permit in items if permit is not None]))
        async with thread_like_current(caller):
            results: _Results = await call_all(**arguments)
        return results.values

    context_of = neutral_context if batch.across_callers else _same
    batcher = Batcher[_Item](batch, run_all, context_of)
    names, build, context_name = signature.call.aliases, signature.build, signature.context

    async def run(**arguments: Any) -> Any:
        context: SDKContext[Any, Any] = arguments.pop(context_name)
        try:
            value = build({names.get(name, name): value for name, value in arguments.items()})
        except Exception:  # the function was not called
            settle_call(Result.NOTHING)
            raise
        item = (value, context, current_permit.get())
        try:
            return await batcher.call(None if batch.across_callers else _key(context), item)
        except BatchFailed as failed:
            raise _shared_failure(failed, breaker) from None

    adapted: Callable[..., Any] = signature.call.describe(run)
    adapted._batch_metrics = batcher.metrics  # type: ignore[attr-defined]
    return adapted


def _shared_failure(failed: BatchFailed, breaker: CircuitBreaker | None) -> Exception:
    """Return the error of a call whose run has failed, and count it as its circuit breaker counts the failure."""
    cause = failed.__cause__
    if breaker is not None and cause is not None:
        settle_call(result_of(breaker, cause))
    if isinstance(cause, ToolError | MCPError):
        return cause
    return ToolError(str(failed))  # the other call's exception is logged with its traceback


def _same(context: ContextVariables) -> ContextVariables:
    return context


def _key(context: SDKContext[Any, Any]) -> Hashable:
    """Return what the calls of a batch have in common: the caller, and what may select a tenant or a language."""
    caller = context.request_context.request
    if caller is None:  # not called over HTTP
        return None
    request = caller.http_request
    headers = tuple(
        pair
        for pair in request.headers.pairs()
        if pair[0] not in _OF_ONE_REQUEST and not pair[0].startswith(_OF_ARGUMENTS)
    )
    query = request.source.META.get("QUERY_STRING", "") if request.source is not None else ""
    baggage = (context.request_context.meta or {}).get(
        "baggage"
    )  # which context variables show, as they do a header's
    language = translation.get_language()
    return caller.principal.binding, caller.address, request.path, query, headers, str(baggage), language


def _converting(function: Callable[..., Any], signature: BatchSignature) -> Callable[..., Any]:
    """Return a function that also converts each result to plain data, where an exception becomes the call's own."""

    async def convert_later(results: Awaitable[Any], expected: int) -> _Results:
        return _Results([await _wire_async(item) for item in checked_results(await results, expected)])

    def call(**arguments: Any) -> Any:
        expected = len(arguments[signature.items])  # before the function, which may empty its list
        results = function(**arguments)
        if inspect.isawaitable(results):  # a wrapper of a coroutine function
            return convert_later(results, expected)
        return _Results([_wire(item) for item in checked_results(results, expected)])

    async def call_async(**arguments: Any) -> Any:
        expected = len(arguments[signature.items])
        return await convert_later(function(**arguments), expected)

    converting: Callable[..., Any] = signature.function.describe(call_async if signature.function.is_async else call)
    return converting


def _wire(result: Any) -> Any:
    if isinstance(result, BaseException):
        return result
    try:
        return to_wire(result)
    except Exception as error:  # fails one call, not its batch
        if isinstance(error, DatabaseError) and _in_transaction():
            raise  # otherwise the other calls would succeed, although the database rolls back what they have done
        return error


def _in_transaction() -> bool:
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))


async def _wire_async(result: Any) -> Any:
    if isinstance(result, BaseException):
        return result
    try:
        return await to_wire_async(result)
    except Exception as error:  # as above
        return error
