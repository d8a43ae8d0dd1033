"""Traces: which one a message continues, and the SDK's span around it.

The trace is that of `_meta`, else that of the HTTP request (SEP-414); where a message has both, the other is a link.
OpenTelemetry's propagators, as the project has configured them, read and write it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.context import CallNext, HandlerResult
from mcp_types import RequestId
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.propagate import extract, inject
from opentelemetry.propagators.textmap import Getter

from mcp_transport.kernel.types import Outcome
from mcp_transport.protocol.headers import Headers

__all__ = ["Message", "continued_trace", "in_own_span", "in_span", "is_traced", "trace_headers"]

_NAMES_PROVIDER: Final = OTEL_PYTHON_TRACER_PROVIDER in os.environ

# W3C Baggage, the longest of these texts, need not be longer.
_LONGEST: Final = 8192

_NO_CHANGE: Final = nullcontext()

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Message:
    """What the SDK's middleware wants to know of a message."""

    method: str
    params: Mapping[str, Any] | None
    protocol_version: str
    request_id: RequestId | None
    meta: Mapping[str, Any] | None


class _Texts(Getter[Mapping[str, Any]]):
    """Reads headers and `_meta`; what is no short line of ASCII text is not there."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        # Lines of one name are one list (RFC 9110, 5.3); a list of traceparents is none.
        text = ",".join(carrier.lines(key)) if isinstance(carrier, Headers) else carrier.get(key)
        if not text or not isinstance(text, str) or len(text) > _LONGEST:
            return None
        return [text] if text.isascii() and text.isprintable() else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return list(carrier)


_TEXTS: Final = _Texts()


class _Within(AbstractContextManager[None]):
    """Makes a context of OpenTelemetry the current one."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(self, *_: object) -> None:
        detach(self._token)


def is_traced(carrier: Mapping[str, Any] | None) -> bool:
    """Tell whether a trace would reach anybody: a collector, or what a handler calls, by headers or `_meta`."""
    # What trace.get_tracer_provider looks at; that function reads the environment at each call.
    if trace._TRACER_PROVIDER is not None or _NAMES_PROVIDER:
        return True
    return carrier is not None and "traceparent" in carrier


def continued_trace(headers: Headers) -> AbstractContextManager[None]:
    """Continue the trace of a request's headers, unless the project has begun a span for the request."""
    if not is_traced(headers) or trace.get_current_span().get_span_context().is_valid:
        return _NO_CHANGE
    return _Within(_extracted(headers, get_current()))


def trace_headers() -> dict[str, str]:
    """Return headers that name the current trace."""
    carrier: dict[str, str] = {}
    try:
        inject(carrier)
    except Exception:  # of a propagator that the project has installed
        logger.debug("the trace cannot be written", exc_info=True)
    return carrier


async def in_span(middleware: OpenTelemetryMiddleware, ctx: Any, call_next: CallNext) -> HandlerResult:
    """Do what the SDK's middleware does to a message, in the trace that `_meta` names, else in the current one."""
    here = get_current()
    asked = _extracted(ctx.meta, here) if ctx.meta else here
    link = trace.get_current_span(here).get_span_context()
    is_linked = link.is_valid and not _is_same(link, trace.get_current_span(asked).get_span_context())

    async def linked(_: Any) -> HandlerResult:
        if is_linked:
            trace.get_current_span().add_link(link)
        return await call_next(ctx)

    with _Within(asked):
        # Without `_meta` the middleware takes the current context.
        return await middleware(replace(ctx, meta=None), linked)


async def in_own_span(middlewares: Iterable[Any], message: Message, work: Awaitable[Outcome]) -> Outcome:
    """Do work that goes through no middleware in the span that the SDK's would make, if the server has that."""
    found = next((one for one in middlewares if type(one) is OpenTelemetryMiddleware), None)
    if found is None:
        return await work
    outcomes: list[Outcome] = []

    async def call_next(_: Any) -> HandlerResult:
        outcomes.append(await work)
        return dict(outcomes[0].result or {})

    await in_span(found, message, call_next)
    return outcomes[0]


def _extracted(carrier: Mapping[str, Any], context: Context) -> Context:
    """Add what a carrier says of traces to a context; what is malformed says nothing."""
    try:
        return extract(carrier, context, _TEXTS)
    except Exception:  # of a propagator that the project has installed
        logger.debug("the trace cannot be read", exc_info=True)
        return context


def _is_same(one: trace.SpanContext, other: trace.SpanContext) -> bool:
    return (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
