"""A message continues the trace that `_meta` names, else that of its HTTP request; the other one is a link."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import ReadableSpan

from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import CallLimits
from tests.support.client import Answer, SessionClient, request, send_sessionless, text_of, until
from tests.support.clock import settle
from tests.tracing.conftest import Spans

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HOP = "00-11111111111111111111111111111111-2222222222222222-01"
NEAR = "00-0af7651916cd43dd8448eb211c80319c-3333333333333333-01"
"""The caller's trace, as an instrumented HTTP client sends it: another span."""
ERAS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")

every_era = pytest.mark.parametrize("era", ERAS)
in_session_and_alone = pytest.mark.parametrize("era", ERAS[2:])


def written(context: Any) -> str | None:
    return None if context is None else f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def place(span: ReadableSpan) -> tuple[str | None, list[str | None]]:
    """Return the parent of a span, and its links."""
    return written(span.parent), [written(link.context) for link in span.links]


@pytest.fixture
def server() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("traced")

    @server.tool()
    def here() -> str:
        """Tell the trace that a tool is in, and what it carries."""
        found = trace.get_current_span().get_span_context()
        return f"{found.trace_id:032x} {baggage.get_baggage('shop')} {found.trace_state.to_header()}"

    return server


@pytest.fixture
def served(build_endpoint: Any, server: MCPServer[Any]) -> Endpoint:
    built: Endpoint = build_endpoint(server=server)
    return built


async def call(endpoint: Endpoint, era: str, meta: dict[str, Any], **options: Any) -> Answer:
    if era == "2026-07-28":
        return await send_sessionless(endpoint, "tools/call", {"name": "here", "arguments": {}}, meta=meta, **options)
    client = SessionClient(endpoint, era)
    await client.open()
    return await client.request("tools/call", {"name": "here", "arguments": {}, "_meta": meta}, **options)


async def traced_call(spans: Spans, endpoint: Endpoint, era: str, meta: Any, **options: Any) -> ReadableSpan:
    answer = await call(endpoint, era, meta, **options)
    assert answer.status == 200, answer.body
    [span] = [span for span in spans.take() if span.name == "tools/call here"]
    assert text_of(answer.json).split()[0] == format(span.context.trace_id, "032x"), "the tool is in the span's trace"
    return span


@every_era
@pytest.mark.parametrize(
    ("meta", "header", "parent", "links"),
    [
        (CALLER, None, CALLER, []),
        (None, HOP, HOP, []),
        (CALLER, HOP, CALLER, [HOP]),
        (CALLER, NEAR, CALLER, [NEAR]),
        (CALLER, CALLER, CALLER, []),
        (None, None, None, []),
    ],
)
async def test_meta_comes_before_the_header_which_is_linked(
    era: str,
    meta: str | None,
    header: str | None,
    parent: str | None,
    links: list[str],
    spans: Spans,
    served: Endpoint,
) -> None:
    given = {"traceparent": meta} if meta else {}
    span = await traced_call(spans, served, era, given, headers={"Traceparent": header} if header else {})
    assert place(span) == (parent, links)


@every_era
async def test_a_span_of_the_project_stands_for_the_header(era: str, spans: Spans, served: Endpoint) -> None:
    for meta, header in itertools.product((CALLER, None), (HOP, None)):
        with spans.tracer.start_as_current_span("POST /mcp") as of_http:
            given = {"traceparent": meta} if meta else {}
            span = await traced_call(spans, served, era, given, headers={"Traceparent": header} if header else {})
        own = written(of_http.get_span_context())
        assert place(span) == ((meta, [own]) if meta else (own, []))


OF_HTTP = {"network.transport": "tcp", "network.protocol.name": "http"}


@every_era
async def test_spans_have_the_attributes_of_the_conventions_and_of_a_session_its_short_id(
    era: str, spans: Spans, served: Endpoint
) -> None:
    client = SessionClient(served, era)
    if era == "2026-07-28":
        await send_sessionless(served, "tools/call", {"name": "here", "arguments": {}})
        await send_sessionless(served, "resources/read", {"uri": "shop://tea"})
        session: dict[str, Any] = {}
    else:
        await client.open()
        await client.request("tools/call", {"name": "here", "arguments": {}})
        await client.request("resources/read", {"uri": "shop://tea"})
        session = {"mcp.session.id": short_id(session_key(client.session_id))}
    await settle()
    found = {span.name: dict(span.attributes or {}) for span in spans.take()}
    call = found["tools/call here"]
    common = {"mcp.protocol.version": era, **OF_HTTP, **session}
    of_call = {"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "here"}
    for names in (call, found["resources/read"]):
        assert names.pop("jsonrpc.request.id")
        names.pop("network.protocol.version", None)
    assert call == {**common, **of_call}
    assert found["resources/read"].items() >= {**common, "mcp.resource.uri": "shop://tea"}.items()
    if session:
        assert found["initialize"].items() >= {**OF_HTTP, **session}.items()
    assert client.session_id not in str(found) or not session, "the id itself is a secret"


FIELDS = {"traceparent": CALLER, "tracestate": "a=1", "baggage": "shop=tea"}
TRACE = CALLER.split("-")[1]


@in_session_and_alone
@pytest.mark.parametrize(
    ("meta", "headers", "told"),
    [
        (FIELDS, {}, [TRACE, "tea", "a=1"]),
        ({}, FIELDS, [TRACE, "tea", "a=1"]),
        ({"baggage": "shop=tea"}, {"traceparent": CALLER}, [TRACE, "tea"]),
        ({"traceparent": "cc" + CALLER[2:] + "-what"}, {}, [TRACE, "None"]),  # a later version
    ],
)
async def test_state_and_baggage_come_along(
    era: str, meta: Any, headers: Any, told: list[str], spans: Spans, served: Endpoint
) -> None:
    answer = await call(served, era, dict(meta), headers=dict(headers))
    assert text_of(answer.json).split()[: len(told)] == told


MALFORMED: list[Any] = [
    *("", "x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff" + CALLER[2:], CALLER.upper(), CALLER + "-more"),
    *(CALLER + "-" + " " * 9000, CALLER[:-1], "a" * 10_000, " ".join(CALLER)),
]
NO_TEXT: list[Any] = [7, 1.5, True, None, [], [CALLER], [[CALLER]], {}, {CALLER: 1}, "é", CALLER + "\n", "\0"]


@in_session_and_alone
async def test_what_is_malformed_in_meta_is_not_there(era: str, spans: Spans, served: Endpoint) -> None:
    for value in MALFORMED + NO_TEXT:
        for name in ("traceparent", "tracestate", "baggage"):
            given = {"traceparent": CALLER, name: value}
            span = await traced_call(spans, served, era, given, headers={"traceparent": HOP})
            assert place(span) == ((HOP, []) if name == "traceparent" else (CALLER, [HOP])), (name, value)


@in_session_and_alone
async def test_what_is_malformed_in_headers_is_not_there(era: str, spans: Spans, served: Endpoint) -> None:
    for value in MALFORMED:
        if len(value) > 9000:
            continue  # 431, before anything is looked at
        for name in ("traceparent", "tracestate", "baggage"):
            span = await traced_call(spans, served, era, {}, headers={name: value})
            assert place(span) == (None, []), value


@in_session_and_alone
async def test_several_traceparents_are_none_and_lines_of_tracestate_are_one_list(
    era: str, spans: Spans, served: Endpoint
) -> None:
    for lines in ([HOP, HOP], [HOP, CALLER]):
        extra = [("traceparent", line) for line in lines]
        span = await traced_call(spans, served, era, {}, extra_lines=extra)
        assert place(span) == (None, [])
    extra = [("traceparent", HOP), ("tracestate", "a=1"), ("Tracestate", "b=2")]
    span = await traced_call(spans, served, era, {}, extra_lines=extra)
    assert dict(span.context.trace_state) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("era", ERAS[:3])
async def test_initialize_and_notifications_are_traced_as_calls_are(era: str, spans: Spans, served: Endpoint) -> None:
    client = SessionClient(served, era)
    with spans.tracer.start_as_current_span("POST /mcp"):
        await client.open()
    await settle()
    assert {span.name for span in spans.take()} == {"POST /mcp", "initialize", "notifications/initialized"}
    for meta, header, expected in (
        (CALLER, HOP, (CALLER, [HOP])),
        (None, HOP, (HOP, [])),
        (CALLER, None, (CALLER, [])),
        (7, HOP, (HOP, [])),
    ):
        params: dict[str, Any] = {"a": 1, **({"_meta": {"traceparent": meta}} if meta else {})}
        headers: dict[str, str | None] = {"traceparent": header} if header else {}
        answer = await client.notify("notifications/com.example.own", params, headers=headers)
        assert answer.status == 202
        await settle()
        assert place(spans.only()) == expected


async def test_each_request_of_a_batch_has_its_own_trace(spans: Spans, served: Endpoint) -> None:
    client = SessionClient(served, "2025-03-26")
    await client.open()
    metas: list[dict[str, Any]] = [{"traceparent": CALLER}, {}, {"traceparent": 7}]
    batch = [
        request("tools/call", {"name": "here", "arguments": {}, "_meta": meta}, id=number)
        for number, meta in enumerate(metas, 50)
    ]
    answer = await client.post(batch, headers={"traceparent": HOP})
    assert len(answer.json) == 3
    calls = [span for span in spans.take() if span.name == "tools/call here"]
    places = {(span.attributes or {})["jsonrpc.request.id"]: place(span) for span in calls}
    assert places == {"50": (CALLER, [HOP]), "51": (HOP, []), "52": (HOP, [])}


@every_era
async def test_other_methods_and_failures_are_in_the_trace_too(era: str, spans: Spans, served: Endpoint) -> None:
    client = SessionClient(served, era)
    if era != "2026-07-28":
        await client.open()
        await settle()
    for method, params in (("tools/list", {}), ("tools/call", {"name": "absent"}), ("prompts/get", {"name": "no"})):
        spans.take()
        if era == "2026-07-28":
            await send_sessionless(served, method, params, headers={"traceparent": HOP})
        else:
            await client.request(method, params, headers={"traceparent": HOP})
        assert place(spans.only()) == (HOP, [])


async def test_the_trace_of_a_request_ends_with_it(spans: Spans, served: Endpoint) -> None:
    await call(served, "2026-07-28", {}, headers={"traceparent": HOP})
    assert not trace.get_current_span().get_span_context().is_valid
    spans.take()
    assert place(await traced_call(spans, served, "2026-07-28", {})) == (None, [])


@every_era
async def test_without_a_provider_the_trace_reaches_what_a_tool_calls(era: str, served: Endpoint) -> None:
    for meta, headers in (({"traceparent": CALLER}, {"traceparent": HOP}), ({}, {"traceparent": CALLER})):
        answer = await call(served, era, dict(meta), headers=dict(headers))
        assert text_of(answer.json).split()[0] == CALLER.split("-")[1]
    assert text_of((await call(served, era, {})).json).split()[0] == "0" * 32


class OwnPropagator(TextMapPropagator):
    """Reads and writes a header of its own, and fails at some of its values."""

    def extract(self, carrier: Any, context: Context | None = None, getter: Any = None) -> Context:
        [value] = getter.get(carrier, "x-own") or [""]
        if value == "fail":
            raise RuntimeError("what a bad propagator raises")
        if not value:
            return context or Context()
        remote = trace.SpanContext(int(value), int(value), is_remote=True, trace_flags=trace.TraceFlags(1))
        return trace.set_span_in_context(trace.NonRecordingSpan(remote), context)

    def inject(self, carrier: Any, context: Context | None = None, setter: Any = None) -> None:
        raise RuntimeError("what a bad propagator raises")

    @property
    def fields(self) -> set[str]:
        return {"x-own"}


@every_era
async def test_the_projects_propagator_is_used_and_may_fail(
    era: str, spans: Spans, served: Endpoint, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(propagate.set_global_textmap, propagate.get_global_textmap()))
    propagate.set_global_textmap(OwnPropagator())
    given = {"traceparent": CALLER}
    span = await traced_call(spans, served, era, given, headers={"x-own": "5", "traceparent": HOP})
    assert span.parent is not None and span.parent.trace_id == 5
    span = await traced_call(spans, served, era, {"x-own": "6"}, headers={"x-own": "5"})
    assert (span.parent is not None and span.parent.trace_id, span.links[0].context.trace_id) == (6, 5)
    assert place(await traced_call(spans, served, era, {}, headers={"x-own": "fail"})) == (None, [])


# -- runs that requests share --------------------------------------------------------------------------------


class Held:
    """A tool that waits for the test, and then tells the trace that it is in, or fails."""

    def __init__(self) -> None:
        self.begun, self.open = 0, asyncio.Event()
        self.error: Exception | None = None

    async def look(self) -> str:
        self.begun += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        found = trace.get_current_span().get_span_context()
        return f"{found.trace_id:032x} {baggage.get_baggage('shop')}"


@pytest.fixture
def held(server: MCPServer[Any]) -> Held:
    held = Held()
    for name, is_shared in (("look", False), ("public", True)):
        tool = Tool.from_function(held.look, name=name)
        vars(tool)["limits"] = CallLimits(read_only=True, coalesce=True, shared=is_shared)
        server._tool_manager._tools[name] = tool
    return held


def look(endpoint: Endpoint, name: str, parent: str, **options: Any) -> asyncio.Task[Answer]:
    meta = {"traceparent": parent, **options.pop("meta", {})}
    return asyncio.create_task(send_sessionless(endpoint, "tools/call", {"name": name}, meta=meta, **options))


@pytest.mark.parametrize("name", ["look", "public"])
@pytest.mark.parametrize(
    ("error", "told"),
    [(None, None), (ToolError("none"), "tool_error"), (MCPError(4242, "failed"), "4242")],
    ids=["result", "tool error", "error"],
)
async def test_a_request_that_joins_a_run_has_a_span_that_links_the_runs(
    name: str, error: Exception | None, told: str | None, spans: Spans, served: Endpoint, held: Held
) -> None:
    held.error = error
    first = look(served, name, CALLER)
    await until(lambda: held.begun)
    second = look(served, name, HOP, id=2)
    await settle()
    held.open.set()
    for answer in (await first, await second):
        assert answer.status == 200
    found = [span for span in spans.take() if span.name == f"tools/call {name}"]
    run, joined = sorted(found, key=lambda span: bool(span.links))
    assert held.begun == 1
    assert (place(run), place(joined)) == ((CALLER, []), (HOP, [written(run.context)]))
    shown = [{**(span.attributes or {})} for span in (run, joined)]
    assert [each.pop("jsonrpc.request.id") for each in shown] == ["1", "2"]
    assert {each.get("error.type") for each in shown} == {told}
    assert run.status.status_code is joined.status.status_code


@pytest.mark.parametrize("leaves", ["first", "second"])
async def test_each_request_of_a_run_ends_its_span(leaves: str, spans: Spans, served: Endpoint, held: Held) -> None:
    tasks = {"first": look(served, "look", CALLER)}
    await until(lambda: held.begun)
    tasks["second"] = look(served, "look", HOP, id=2)
    await settle()
    tasks.pop(leaves).cancel()
    await settle()
    held.open.set()
    [(_, rest)] = tasks.items()
    assert text_of((await rest).json)
    assert {written(span.parent) for span in spans.take() if span.name == "tools/call look"} == {CALLER, HOP}


async def test_a_run_for_all_callers_is_in_the_trace_of_the_first_but_has_no_baggage(
    spans: Spans, served: Endpoint, held: Held
) -> None:
    held.open.set()
    given = {"baggage": "shop=a"}
    in_meta = text_of((await look(served, "public", CALLER, meta=given)).json)
    params = {"name": "public"}
    answer = await send_sessionless(served, "tools/call", params, headers={"traceparent": HOP, **given})
    assert [in_meta, text_of(answer.json)] == [f"{CALLER.split('-')[1]} None", f"{HOP.split('-')[1]} None"]
