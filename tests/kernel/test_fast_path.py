"""The fast path gives the same results as the SDK's full path; unusual calls take the full path."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Resolve
from mcp_types import (
    ClientCapabilities,
    ElicitationCapability,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
)
from pydantic import BaseModel, ConfigDict, computed_field, model_serializer

from mcp_transport.kernel import Kernel, apply_spec_corrections, send_log
from mcp_transport.kernel.fast_path.path import FastPath, _scalar_text, _wrapped_scalar
from mcp_transport.protocol.jsonrpc import Outcome, Request
from mcp_transport.protocol.versions import REVISIONS
from tests.support.kernel import ON_THE_FAST_PATH, Recorder, exchange, served
from tests.support.plain_calls import (
    ARGUMENTS,
    META,
    RAISES,
    RETURNS,
    Row,
    envelope,
    raising,
    returning,
    with_arguments,
)

ERAS = ("2025-11-25", "2026-07-28")


@pytest.fixture(scope="module")
def whole() -> MCPServer[Any]:
    """A server with all tools; tests must not change it, since building the schemas is slow."""
    server: MCPServer[Any] = MCPServer("plain", version="3")
    for name, (annotation, value) in RETURNS.items():
        server.add_tool(returning(value, annotation), name=name)
    for name, error in RAISES.items():
        server.add_tool(raising(error), name=name)
    server.add_tool(with_arguments, name="arguments")
    server.add_tool(uses_context)
    server.add_tool(elicits)
    apply_spec_corrections(server)
    return server


@pytest.fixture
def server() -> MCPServer[Any]:
    """A server with one tool, for tests that change it."""
    server: MCPServer[Any] = MCPServer("plain", version="3")
    server.add_tool(returning(5, int), name="int")
    apply_spec_corrections(server)
    return server


def is_fast(server: MCPServer[Any], request: Request) -> bool:
    return FastPath(server).fast_tool(request) is not None


async def both_ways(server: MCPServer[Any], version: str, params: Any) -> tuple[bool, Outcome, Outcome]:
    """Serve a call on the fast path and without it; return whether it is served fast, and both outcomes."""
    request = Request(7, "tools/call", params)
    outcome, expected = [
        await served(Kernel(server, fast=fast), exchange(Recorder(), version), request) for fast in (True, False)
    ]
    return is_fast(server, request), outcome, expected


@pytest.mark.parametrize("version", ERAS)
@pytest.mark.parametrize("name", [*RETURNS, *RAISES])
@ON_THE_FAST_PATH
async def test_results_and_errors_are_the_same(whole: MCPServer[Any], name: str, version: str) -> None:
    params = {"name": name, "_meta": envelope(version)}
    fast, outcome, expected = await both_ways(whole, version, params)
    assert fast
    assert outcome == expected


@pytest.mark.parametrize(
    ("name", "is_scalar"),
    [(name, name in {"int", "bool", "greatest", "no text"}) for name in RETURNS],
)
@ON_THE_FAST_PATH
def test_what_is_no_more_than_its_type_is_not_converted(whole: MCPServer[Any], name: str, is_scalar: bool) -> None:
    tool = whole._tool_manager.get_tool(name)
    assert tool is not None
    assert (_scalar_text(tool, RETURNS[name][1]) is not None) is is_scalar


class Computed(BaseModel):
    result: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def more(self) -> int:
        return 1


class Serialised(BaseModel):
    result: int

    @model_serializer
    def serialise(self) -> int:
        return 1


class Checked(BaseModel):
    result: int

    def model_post_init(self, context: Any, /) -> None:
        self.result = 1


class Configured(BaseModel):
    model_config = ConfigDict(json_schema_extra={"a": 1}, str_to_upper=True)
    result: str


class Inherited(Computed):
    pass


@pytest.mark.parametrize("model", [Computed, Serialised, Checked, Configured, Inherited, Row, dict[str, int], None])
@ON_THE_FAST_PATH
def test_a_model_that_does_more_is_no_mere_wrapper(model: Any) -> None:
    assert _wrapped_scalar(model) is None


CALLS: dict[str, dict[str, Any]] = {
    **{f"arguments {value}": {"name": "arguments", "arguments": value} for value in ARGUMENTS},
    **{f"_meta {str(value)[:40]}": {"name": "int", "_meta": value} for value in META},
}
OUT_OF_THE_ORDINARY: list[dict[str, Any]] = [
    *({}, {"name": 5}, {"name": "unknown"}),
    *({"name": "int", "requestState": "x"}, {"name": "int", "task": {"ttl": 1}}),
]


@pytest.mark.parametrize("version", REVISIONS)
@pytest.mark.parametrize("params", CALLS.values(), ids=CALLS)
@ON_THE_FAST_PATH
async def test_arguments_and_meta_are_judged_the_same(
    whole: MCPServer[Any], params: dict[str, Any], version: str
) -> None:
    _, outcome, expected = await both_ways(whole, version, enveloped(params, version))
    assert outcome == expected


@pytest.mark.parametrize("version", REVISIONS)
@ON_THE_FAST_PATH
async def test_what_is_out_of_the_ordinary_goes_the_whole_way(whole: MCPServer[Any], version: str) -> None:
    for params in OUT_OF_THE_ORDINARY:
        fast, outcome, expected = await both_ways(whole, version, enveloped(params, version))
        assert not fast
        assert outcome == expected


def enveloped(params: dict[str, Any], version: str) -> dict[str, Any]:
    """Add the members that 2026-07-28 requires to `_meta`, unless it is not an object."""
    meta = params.get("_meta", {})
    return {**params, "_meta": envelope(version, **meta) if isinstance(meta, dict) else meta}


async def test_a_question_is_sealed_like_any_other(server: MCPServer[Any]) -> None:
    elicitation = ElicitRequest(
        params=ElicitRequestFormParams(message="?", requested_schema={"type": "object", "properties": {}})
    )
    result = InputRequiredResult(input_requests={"q": elicitation}, request_state="not for the client's eyes")
    server.add_tool(returning(result, Any), name="question")
    kernel, request = Kernel(server), Request(7, "tools/call", {"name": "question", "_meta": envelope("2026-07-28")})
    assert is_fast(server, request)
    outcome = await served(kernel, exchange(Recorder(), "2026-07-28", elicitation={}), request)
    assert outcome.result is not None
    assert outcome.result["resultType"] == "input_required"
    assert outcome.result["inputRequests"]["q"]["method"] == "elicitation/create"
    assert outcome.result["requestState"] not in ("", result.request_state)


async def resolved() -> int:
    return 1


def call_of(name: str) -> Request:
    return Request(7, "tools/call", {"name": name})


@ON_THE_FAST_PATH
async def test_tools_that_want_more_go_the_whole_way(server: MCPServer[Any]) -> None:
    async def wants_resolved(value: Annotated[int, Resolve(resolved)]) -> int:
        return value

    server.add_tool(wants_resolved)
    assert not is_fast(server, call_of("wants_resolved"))
    assert is_fast(server, call_of("int"))


async def uses_context(ctx: Context, a: int = 0) -> dict[str, Any]:
    """Use the context's methods and return its attributes."""
    session, request = ctx.request_context.session, ctx.request_context
    await ctx.report_progress(1, 2, "half")
    await send_log(ctx, "error", "so it goes", "l")
    await session.send_tool_list_changed()
    await ctx.close_sse_stream()
    client = session.client_params
    return {
        "a": a,
        "id": ctx.request_id,
        "client": client.model_dump(mode="json") if client is not None else None,
        "capable": session.check_client_capability(ClientCapabilities(elicitation=ElicitationCapability())),
        "version": request.protocol_version,
        "method": request.method,
        "params": dict(request.params or {}),
        "meta": request.meta,
        "lifespan": request.lifespan_context,
        "server": ctx.mcp_server.name,
        "agent": getattr(request.request, "headers", {})["user-agent"],
        "answers": ctx.input_responses,
        "state": ctx.request_state,
        "has a bus": ctx._subscriptions is not None,
    }


async def elicits(ctx: Context) -> str:
    """Send an elicitation to the client."""
    answer = await ctx.elicit("name?", Name)
    return str(answer.action)


class Name(BaseModel):
    name: str


@pytest.mark.parametrize("version", ERAS)
@pytest.mark.parametrize("meta", META, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("name", ["uses_context", "elicits"])
@ON_THE_FAST_PATH
async def test_a_context_is_the_same(whole: MCPServer[Any], name: str, meta: Any, version: str) -> None:
    params = enveloped({"name": name, "_meta": meta}, version)
    channels, outcomes = [Recorder(), Recorder()], []
    for channel, fast in zip(channels, (True, False), strict=True):
        kernel, running = Kernel(whole, fast=fast), exchange(channel, version, elicitation={})
        outcomes.append(await served(kernel, running, Request(7, "tools/call", params)))
    assert outcomes[0] == outcomes[1]
    assert vars(channels[0]) == vars(channels[1])
    if meta == {} and name == "uses_context":
        assert not outcomes[0].failed and channels[0].sent


async def test_what_a_context_leaves_to_be_done_is_done(server: MCPServer[Any]) -> None:
    done: list[str] = []

    async def leaves(ctx: Context) -> int:
        ctx.request_context.session._connection.exit_stack.callback(done.append, "done")
        raise ToolError("no")

    server.add_tool(leaves)
    assert (await served(Kernel(server), exchange(Recorder()), call_of("leaves"))).failed
    assert done == ["done"]


def add_middleware(server: MCPServer[Any]) -> None:
    async def middleware(ctx: Any, call_next: Any) -> Any:
        return await call_next(ctx)

    server._lowlevel_server.middleware.append(middleware)


async def replaced(ctx: Any, params: Any) -> Any: ...


def replace_handler(server: MCPServer[Any]) -> None:
    entry = server._lowlevel_server.get_request_handler("tools/call")
    assert entry is not None
    server._lowlevel_server.add_request_handler("tools/call", entry.params_type, replaced)


def override_run(server: MCPServer[Any]) -> None:
    tool = server._tool_manager.get_tool("int")
    assert tool is not None

    class Own(type(tool)):  # type: ignore[misc]
        async def run(self, *args: Any, **kwargs: Any) -> Any:
            return await super().run(*args, **kwargs)

    server._tool_manager._tools["int"] = Own(**{name: getattr(tool, name) for name in type(tool).model_fields})


def become_a_class_of_its_own(server: MCPServer[Any]) -> None:
    server.__class__ = type("Own", (MCPServer,), {})


@pytest.mark.parametrize("change", [add_middleware, replace_handler, override_run, become_a_class_of_its_own])
@ON_THE_FAST_PATH
async def test_what_a_project_put_around_calls_is_not_left_out(
    server: MCPServer[Any], change: Callable[[MCPServer[Any]], None]
) -> None:
    path = FastPath(server)
    assert path.fast_tool(call_of("int")) is not None
    change(server)
    path = FastPath(server) if change is become_a_class_of_its_own else path
    assert path.fast_tool(call_of("int")) is None


async def test_a_crash_is_logged_and_its_text_stays_here(
    whole: MCPServer[Any], caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.MCP_TRANSPORT = {"LOG_EXCEPTION_TEXTS": True}
    caplog.set_level(logging.INFO)
    outcome = await served(Kernel(whole), exchange(Recorder()), call_of("crash"))
    assert outcome.failed and "secret" not in str(outcome.result)
    [crash] = [record for record in caplog.records if record.exc_info]
    assert "'crash'" in crash.getMessage()
    assert "secret" in caplog.text
    request = Request(7, "tools/call", {"name": "arguments", "arguments": {"a": "private"}})
    caplog.clear()
    assert (await served(Kernel(whole), exchange(Recorder()), request)).failed
    [refusal] = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert "'arguments'" in refusal and "['a']" in refusal
    assert "private" not in caplog.text
