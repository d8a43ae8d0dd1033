"""Traces behind the view and on the mount, where OpenTelemetry instruments the project and where it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.test import AsyncClient, Client
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import ReadableSpan

from mcp_transport import tool
from mcp_transport.asgi import mount
from mcp_transport.test.asgi import ApplicationHandler
from tests.support.client import ENVELOPE
from tests.tracing.conftest import Spans
from tests.tracing.test_context import CALLER, HOP, place, written

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Sync:
    """A middleware that is not asynchronous."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)


@pytest.fixture(autouse=True)
def _tools(declarations: Any) -> None:
    @tool
    def sync_here() -> str:
        """Tell the trace, in a thread."""
        return format(trace.get_current_span().get_span_context().trace_id, "032x")

    @tool
    async def async_here() -> str:
        """Tell the trace, on the loop."""
        return format(trace.get_current_span().get_span_context().trace_id, "032x")


@pytest.fixture
def instrumented(spans: Spans, settings: Any) -> Iterator[None]:
    """Have Django's requests traced."""
    settings.MIDDLEWARE = list(settings.MIDDLEWARE)
    DjangoInstrumentor().instrument(tracer_provider=spans.provider)
    yield
    DjangoInstrumentor().uninstrument()


def by_mount(application: Any = None) -> AsyncClient:
    client = AsyncClient()
    client.handler = ApplicationHandler(application or mount(get_asgi_application()))
    return client


async def post(client: AsyncClient, headers: dict[str, str], message: dict[str, Any]) -> Any:
    headers = {"accept": "application/json, text/event-stream", **headers}
    response = await client.post("/mcp", message, content_type="application/json", headers=headers)
    assert response.status_code == 200, response.content
    return response


def call(name: str, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": {}, "_meta": meta},
    }


async def spans_of(
    spans: Spans, client: AsyncClient, era: str, name: str, meta: str | None, header: str | None
) -> tuple[ReadableSpan, ReadableSpan | None]:
    """Call a tool; return its span, and that of the HTTP request if there is one."""
    given, headers = ({"traceparent": meta} if meta else {}), ({"traceparent": header} if header else {})
    if era == "2026-07-28":
        own = {"mcp-protocol-version": era, "mcp-method": "tools/call", "mcp-name": name}
        response = await post(client, {**headers, **own}, call(name, {**ENVELOPE, **given}))
    else:
        opened = await post(client, {}, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE})
        spans.take()
        own = {"mcp-protocol-version": era, "mcp-session-id": opened["Mcp-Session-Id"]}
        response = await post(client, {**headers, **own}, call(name, given))
    found = spans.take()
    [mine] = [span for span in found if span.name == f"tools/call {name}"]
    text = json.loads(response.content)["result"]["content"][0]["text"]
    assert text == format(mine.context.trace_id, "032x")
    servers = [span for span in found if span is not mine and span.kind is trace.SpanKind.SERVER]
    return mine, servers[0] if servers else None


each_call = pytest.mark.parametrize(
    ("era", "name"), [(era, name) for era in ("2025-11-25", "2026-07-28") for name in ("sync_here", "async_here")]
)


def entrance_of(entrance: str, settings: Any, provider: Any = None) -> AsyncClient:
    """Return a client of an entrance, which a provider's instrumentation traces."""
    if entrance == "mount":  # which Django's instrumentation does not reach
        mounted = mount(get_asgi_application())
        return by_mount(OpenTelemetryMiddleware(mounted, tracer_provider=provider) if provider else mounted)
    if entrance == "view with sync middleware":
        own = [f"{__name__}.Sync"]
        # The instrumentation has put its middleware first.
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, *own] if provider else [*own, *settings.MIDDLEWARE]
    return AsyncClient()


every_entrance = pytest.mark.parametrize("entrance", ["view", "view with sync middleware", "mount"])


@each_call
@every_entrance
async def test_without_instrumentation_the_header_is_continued(
    era: str, name: str, entrance: str, spans: Spans, settings: Any
) -> None:
    client = entrance_of(entrance, settings)
    for meta, header, expected in (
        (None, HOP, (HOP, [])),
        (CALLER, HOP, (CALLER, [HOP])),
        (CALLER, None, (CALLER, [])),
        (None, "x" * 60, (None, [])),
    ):
        mine, http = await spans_of(spans, client, era, name, meta, header)
        assert http is None
        assert place(mine) == expected


@each_call
@every_entrance
async def test_with_instrumentation_the_span_of_the_request_is_continued(
    era: str, name: str, entrance: str, spans: Spans, settings: Any, instrumented: None
) -> None:
    client = entrance_of(entrance, settings, spans.provider)
    for meta, header in ((None, HOP), (CALLER, HOP), (CALLER, None), (None, None)):
        mine, http = await spans_of(spans, client, era, name, meta, header)
        assert http is not None
        assert place(http)[0] == header
        own = written(http.get_span_context())
        assert place(mine) == ((meta, [own]) if meta else (own, []))


@pytest.mark.parametrize("is_instrumented", [False, True])
def test_under_wsgi_it_is_the_same(is_instrumented: bool, spans: Spans, request: Any, settings: Any) -> None:
    if is_instrumented:
        request.getfixturevalue("instrumented")
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "sync_here"}
    body = call("sync_here", {**ENVELOPE, "traceparent": CALLER})
    headers |= {"accept": "application/json", "traceparent": HOP}
    response = Client().post("/mcp", body, content_type="application/json", headers=headers)
    assert response.status_code == 200
    found = spans.take()
    [mine] = [span for span in found if span.name == "tools/call sync_here"]
    [link] = [HOP] if not is_instrumented else [written(span.context) for span in found if place(span)[0] == HOP]
    assert place(mine) == (CALLER, [link])
