"""OpenTelemetry: the trace that a message continues, and the SDK's span around it.

A message continues the trace of its `_meta`, else that of the HTTP request (SEP-414); if it has both, the span links
the latter. The propagators that the project configured extract and inject the trace context.
"""

from __future__ import annotations

import logging
import os
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context as Variables
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.environment_variables import OTEL_PYTHON_METER_PROVIDER as METER_PROVIDER
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.metrics import _internal as metrics
from opentelemetry.propagate import extract, inject
from opentelemetry.propagators.textmap import Getter

from mcp_transport.kernel.dispatch_context import Exchange
from mcp_transport.kernel.otel_metrics import protocol_attributes
from mcp_transport.kernel.types import Caller
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Outcome, Request, RequestId

__all__ = [
    "JoinedSpan",
    "LinkedSpans",
    "continued_trace",
    "copy_span",
    "in_sdk_span",
    "is_measured",
    "is_traced",
    "link_spans",
    "observe_spans",
    "trace_headers",
]

_HAS_PROVIDER_VARIABLE: Final = OTEL_PYTHON_TRACER_PROVIDER in os.environ
_HAS_METER_VARIABLE: Final = METER_PROVIDER in os.environ

# Characters; the limit of W3C Baggage, the longest of these values.
_MAX_VALUE: Final = 8192

# Characters of a URI in a span.
_MAX_URI: Final = 1024

_NO_CHANGE: Final = nullcontext()

_observed: ContextVar[list[trace.SpanContext] | None] = ContextVar("mcp_transport_observed_spans", default=None)

logger = logging.getLogger(__name__)


class _Getter(Getter[Mapping[str, Any]]):
    """Reads headers and `_meta`; ignores values that are not printable ASCII of at most `_MAX_VALUE` characters."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        # Lines of one name form a list (RFC 9110, 5.3); a list of traceparents is invalid, so it is ignored.
        value = ",".join(carrier.lines(key)) if isinstance(carrier, Headers) else carrier.get(key)
        if not value or not isinstance(value, str) or len(value) > _MAX_VALUE:
            return None
        return [value] if value.isascii() and value.isprintable() else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return list(carrier)


_GETTER: Final = _Getter()


class _CurrentContext(AbstractContextManager[None]):
    """Makes an OpenTelemetry context the current one."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(self, *_: object) -> None:
        detach(self._token)


def is_traced(carrier: Mapping[str, Any] | None) -> bool:
    """Return whether spans are recorded, or a trace is propagated by `carrier` (headers or `_meta`)."""
    # The private variable of trace.get_tracer_provider, which would read the environment at each call.
    if trace._TRACER_PROVIDER is not None or _HAS_PROVIDER_VARIABLE:
        return True
    return carrier is not None and "traceparent" in carrier


def is_measured() -> bool:
    """Return whether the process has a meter provider."""
    # The private variable of metrics.get_meter_provider, as above.
    return metrics._METER_PROVIDER is not None or _HAS_METER_VARIABLE


def continued_trace(headers: Headers) -> AbstractContextManager[None]:
    """Continue the trace of a request's headers, unless the project already started a span for the request."""
    if not is_traced(headers) or trace.get_current_span().get_span_context().is_valid:
        return _NO_CHANGE
    return _CurrentContext(_extract(headers, get_current()))


def trace_headers() -> dict[str, str]:
    """Return headers that propagate the current trace."""
    carrier: dict[str, str] = {}
    try:
        inject(carrier)
    except Exception:  # raised by a propagator of the project
        logger.debug("the trace context cannot be injected", exc_info=True)
    return carrier


@dataclass(slots=True)
class _PlainMessage:
    """What the middleware reads of a message that passes no other middleware."""

    method: str
    params: Mapping[str, Any] | None
    meta: Mapping[str, Any] | None
    protocol_version: str
    request_id: RequestId
    exchange: Callable[[], Exchange]

    @property
    def request(self) -> Caller:
        """Return the caller, built on demand: only a span that is recorded needs it."""
        return self.exchange().caller


class LinkedSpans(OpenTelemetryMiddleware):
    """The SDK's tracing middleware, in the trace that `_meta` names, else in the current one.

    It adds the attributes of the semantic conventions that the SDK cannot know: of the session and the transport.
    """

    async def __call__(self, ctx: Any, call_next: CallNext) -> HandlerResult:
        """Handle a message in a span."""
        current = get_current()
        context = _extract(ctx.meta, current) if ctx.meta else current
        link = trace.get_current_span(current).get_span_context()
        is_linked = link.is_valid and not _is_same(link, trace.get_current_span(context).get_span_context())

        async def call_linked(_: Any) -> HandlerResult:
            span = trace.get_current_span()
            if span.is_recording():
                span.set_attributes(_span_attributes(ctx))
            if is_linked:
                span.add_link(link)
            if (observed := _observed.get()) is not None:
                observed.append(span.get_span_context())
            return await call_next(ctx)

        untraced = copy(ctx)
        untraced.meta = None  # so that the middleware uses the current context
        with _CurrentContext(context):
            return await super().__call__(untraced, call_linked)


def _span_attributes(ctx: Any) -> dict[str, str]:
    attributes = protocol_attributes()
    if isinstance(caller := ctx.request, Caller):
        attributes = protocol_attributes(caller.http_request.http_version)
        if caller.own_session is not None:
            attributes["mcp.session.id"] = caller.own_session.short_id  # the id itself is a secret
    uri = (ctx.params or {}).get("uri")
    if ctx.method.startswith("resources/") and isinstance(uri, str):
        attributes["mcp.resource.uri"] = uri[:_MAX_URI]
    return attributes


def link_spans(server: Server[Any]) -> bool:
    """Replace the SDK's tracing middleware of a server by one `LinkedSpans`; return whether there was any."""
    middlewares = server.middleware
    if not any(type(each) is OpenTelemetryMiddleware for each in middlewares):
        return False
    first, linked = True, list[Any]()
    for each in middlewares:
        is_tracing = type(each) in (OpenTelemetryMiddleware, LinkedSpans)
        if not is_tracing or first:  # a second one would make a second span of each message
            linked.append(LinkedSpans() if is_tracing else each)
        first = first and not is_tracing
    middlewares[:] = linked
    return True


async def in_sdk_span(
    middlewares: Iterable[Any],
    request: Request,
    version: str,
    work: Awaitable[Outcome],
    exchange: Callable[[], Exchange],
) -> Outcome:
    """Await work that passes no middleware, in the span of the SDK's tracing middleware if the server has that."""
    spans = next((each for each in middlewares if type(each) is LinkedSpans), None)
    if spans is None:
        return await work
    outcomes: list[Outcome] = []

    async def call_next(_: Any) -> HandlerResult:
        outcomes.append(await work)
        return dict(outcomes[0].result or {})

    message = _PlainMessage(request.method, request.params, request.meta, version, request.id, exchange)
    await spans(message, call_next)
    return outcomes[0]


# -- runs that requests share --------------------------------------------------------------------------------


def copy_span(source: Variables, target: Variables) -> None:
    """Make the current span of `source` that of `target`, without the baggage."""
    span = source.run(trace.get_current_span)
    if span.get_span_context().is_valid:
        target.run(attach, trace.set_span_in_context(span, Context()))


def observe_spans(variables: Variables, spans: list[trace.SpanContext]) -> None:
    """Add the span of each message that is handled in `variables` to a list."""
    variables.run(_observed.set, spans)


class JoinedSpan:
    """The span of a request that waits for the run of an equal one; it links the span of that run."""

    def __init__(
        self,
        variables: Variables,
        server: Server[Any],
        message: tuple[Request, str],
        exchange: Callable[[], Exchange],
        run: list[trace.SpanContext],
    ) -> None:
        """Start the span of a request at a revision, in its `variables`; `run` has the run's span, or will."""
        self._variables, self._run = variables, run
        request, version = message
        self._span: Any = in_sdk_span(server.middleware, request, version, self._wait(), exchange)
        self._resume(self._span.send, None)

    async def _wait(self) -> Outcome:
        outcome: Outcome = await _Outcome()
        for context in self._run[:1]:
            trace.get_current_span().add_link(context)
        if outcome.error is not None:
            raise MCPError(outcome.error["code"], outcome.error["message"])
        return outcome

    def end(self, outcome: Outcome | None) -> None:
        """End the span; `outcome` is None if the request was cancelled, or waits no longer."""
        if outcome is None:
            self._resume(self._span.throw, CancelledError())
        else:
            self._resume(self._span.send, outcome)

    def _resume(self, step: Callable[[Any], object], value: Any) -> None:
        try:
            self._variables.run(step, value)
        except (StopIteration, CancelledError, MCPError):  # it has ended
            pass
        except Exception:  # raised by a provider of the project
            logger.debug("the span of a coalesced request cannot be recorded", exc_info=True)


class _Outcome:
    """Waits for what is sent to the coroutine that awaits it."""

    def __await__(self) -> Generator[None, Outcome, Outcome]:
        return (yield)


def _extract(carrier: Mapping[str, Any], context: Context) -> Context:
    """Extract the trace context of a carrier; return `context` unchanged if it has none or a malformed one."""
    try:
        return extract(carrier, context, _GETTER)
    except Exception:  # raised by a propagator of the project
        logger.debug("the trace context cannot be extracted", exc_info=True)
        return context


def _is_same(one: trace.SpanContext, other: trace.SpanContext) -> bool:
    return (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
