"""The span of a plain call is the one that the SDK's whole way makes; a provider sends no call there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from mcp_transport.kernel import Kernel, apply_spec_corrections
from mcp_transport.kernel.sdk_path import SDKPath
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.versions import REVISIONS
from tests.support.kernel import ON_THE_FAST_PATH, Recorder, exchange, served
from tests.support.plain_calls import ARGUMENTS, META, RAISES, RETURNS, envelope, raising, returning, with_arguments
from tests.tracing.conftest import Spans, install

SOME = ("int", "text for int", "wrong", "own error")
PARAMS: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in (*SOME, "question", *RAISES)},
    **{f"arguments {value}": {"name": "arguments", "arguments": value} for value in ARGUMENTS},
    "absent": {"name": "absent"},
}


@pytest.fixture
def server() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("plain", version="3")
    for name in SOME:
        annotation, value = RETURNS[name]
        server.add_tool(returning(value, annotation), name=name)
    for name, error in RAISES.items():
        server.add_tool(raising(error), name=name)
    server.add_tool(with_arguments, name="arguments")
    apply_spec_corrections(server)
    return server


def told(span: ReadableSpan) -> Any:
    """Return what a span tells, without what differs each time."""
    events = [
        (event.name, {k: v for k, v in (event.attributes or {}).items() if "stack" not in k}) for event in span.events
    ]
    return span.name, span.kind, dict(span.attributes or {}), span.status.status_code, span.status.description, events


async def both_ways(spans: Spans, server: MCPServer[Any], version: str, params: Any) -> tuple[Any, Any]:
    found = []
    for is_plain in (True, False):
        kernel, request = Kernel(server, fast=is_plain), Request(7, "tools/call", params)
        outcome = await served(kernel, exchange(Recorder(), version, elicitation={}), request)
        found.append(([told(span) for span in spans.take()], outcome.failed))
    return found[0], found[1]


@pytest.mark.parametrize("version", REVISIONS)
@ON_THE_FAST_PATH
async def test_plain_calls_have_the_spans_of_the_sdk(spans: Spans, server: MCPServer[Any], version: str) -> None:
    asked = ElicitRequest(
        params=ElicitRequestFormParams(message="?", requested_schema={"type": "object", "properties": {}})
    )
    server.add_tool(returning(InputRequiredResult(input_requests={"q": asked}), Any), name="question")
    for params in PARAMS.values():
        plain, whole = await both_ways(spans, server, version, params | {"_meta": envelope(version)})
        assert plain == whole
        assert len(plain[0]) == 1, "a call has one span"


@pytest.mark.parametrize("version", REVISIONS)
@ON_THE_FAST_PATH
async def test_odd_meta_has_the_spans_of_the_sdk(spans: Spans, server: MCPServer[Any], version: str) -> None:
    for meta in META:
        params = {"name": "int", "_meta": envelope(version, **meta) if isinstance(meta, dict) else meta}
        plain, whole = await both_ways(spans, server, version, params)
        assert plain == whole


PROVIDERS: dict[str, Callable[[], trace.TracerProvider]] = {
    "no-op": lambda: trace.NoOpTracerProvider(),
    "sampled": lambda: TracerProvider(sampler=ALWAYS_ON),
    "not sampled": lambda: TracerProvider(sampler=ALWAYS_OFF),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", ["int", "wants_context", "crash"])
@ON_THE_FAST_PATH
async def test_a_provider_sends_no_plain_call_the_whole_way(
    name: str, provider: str, server: MCPServer[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wants_context(ctx: Context) -> str:
        return ctx.request_id

    server.add_tool(wants_context)
    install(monkeypatch, PROVIDERS[provider]())
    kernel, went = Kernel(server), list[str]()
    monkeypatch.setattr(SDKPath, "serve", lambda *args: went.append("the SDK's own way"))
    params = {"name": name, "_meta": {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}}
    assert (await served(kernel, exchange(Recorder()), Request(7, "tools/call", params))).result is not None
    assert went == []


@ON_THE_FAST_PATH
async def test_a_server_without_the_sdks_middleware_has_no_spans(spans: Spans, server: MCPServer[Any]) -> None:
    server._lowlevel_server.middleware.clear()
    for params in ({"name": "int"}, {"name": "absent"}):
        plain, whole = await both_ways(spans, server, "2025-11-25", params)
        assert plain == whole
        assert plain[0] == []


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
@ON_THE_FAST_PATH
async def test_tracing_middleware_that_a_project_adds_later_keeps_the_fast_path_and_makes_one_span(
    is_first: bool, spans: Spans, server: MCPServer[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, went = Kernel(server), list[str]()
    middleware = server._lowlevel_server.middleware
    middleware.insert(0 if is_first else len(middleware), OpenTelemetryMiddleware())
    serve = SDKPath.serve

    def other_way(path: SDKPath, *arguments: Any) -> Any:
        went.append("the SDK's own way")
        return serve(path, *arguments)

    monkeypatch.setattr(SDKPath, "serve", other_way)
    for name, is_fast in (("int", True), ("int", True), ("absent", False)):
        await served(kernel, exchange(Recorder()), Request(7, "tools/call", {"name": name}))
        assert [span.name for span in spans.take()] == [f"tools/call {name}"]
        assert bool(went) is not is_fast


@ON_THE_FAST_PATH
async def test_tracing_middleware_beside_a_projects_own_takes_the_sdks_way(
    spans: Spans, server: MCPServer[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def own(ctx: Any, call_next: Any) -> Any:
        seen.append(ctx.method)
        return await call_next(ctx)

    kernel = Kernel(server)
    server._lowlevel_server.middleware += [own, OpenTelemetryMiddleware()]
    await served(kernel, exchange(Recorder()), Request(7, "tools/call", {"name": "int"}))
    assert seen == ["tools/call"]
    assert [span.name for span in spans.take()] == ["tools/call int"]


async def test_middleware_before_the_span_stays_outside(spans: Spans, server: MCPServer[Any]) -> None:
    seen: list[str] = []

    async def outer(ctx: Any, call_next: Any) -> Any:
        seen.append("recording" if trace.get_current_span().is_recording() else "no span")
        return await call_next(ctx)

    server._lowlevel_server.middleware.insert(0, outer)
    await served(Kernel(server), exchange(Recorder()), Request(7, "tools/call", {"name": "int"}))
    assert seen == ["no span"]
    assert [span.name for span in spans.take()] == ["tools/call int"]
