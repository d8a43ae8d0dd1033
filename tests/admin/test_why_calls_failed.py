"""Why a call failed: the same in the timeline, in REST, in the shell, in the audit and in the log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent
from rest_framework.test import APIClient

from mcp_transport import CircuitBreaker, signals, tool
from mcp_transport.domain.history import FailureKind
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import MCPError
from mcp_transport.log_context import CallFields
from mcp_transport.management.text_tables import detail_lines
from mcp_transport.operators import service
from mcp_transport.operators.representation.sessions import FAILURES
from tests.support.client import until
from tests.support.listeners import receiving
from tests.support.tools import Gate
from tests.support.visits import Visitor, aside, page

pytestmark = pytest.mark.urls("tests.garbage.urls")
SECRET = "what-nobody-may-see"
own_logger = logging.getLogger("shop.orders")


class OutOfStock(ToolError):
    """An exception that a tool raises on purpose."""


@pytest.fixture(params=[{"FAILURE_PAYLOADS": True, "LOG_EXCEPTION_TEXTS": True}])
def tools(request: pytest.FixtureRequest, declarations: Any, gate: Gate, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RATE_LIMITS": {"tool": "2/h"}, **request.param}

    @tool
    async def refuse(text: str) -> str:
        raise OutOfStock(f"no {text}")

    @tool
    async def say_no(text: str) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=f"no {text}")], is_error=True)

    @tool
    def crash(text: str) -> str:
        own_logger.warning("about to crash")
        raise ValueError(text)

    @tool
    async def answer_with_a_code(text: str) -> str:
        raise MCPError(-31000, text)

    @tool
    async def wait(text: str) -> str:
        await gate.pass_through()
        return text

    @tool(timeout=0.01)
    async def sleep(text: str) -> str:
        await gate.pass_through()
        return text

    @tool(max_result_bytes=1024)
    async def write(text: str) -> str:
        return text * 1000

    @tool(circuit_breaker=CircuitBreaker(min_calls=1, open_for=600.0, max_open_for=600.0))
    async def ask(text: str) -> str:
        raise ConnectionError(text)


async def by_client(visitor: Visitor, gate: Gate) -> None:
    await visitor.call("wait", {"text": SECRET}, id=7)
    await gate.wait(gate.entered)
    await visitor.notify("notifications/cancelled", {"requestId": 7})
    await gate.wait(gate.left)


async def by_staff(visitor: Visitor, gate: Gate) -> None:
    await visitor.call("wait", {"text": SECRET}, id=7)
    await gate.wait(gate.entered)
    assert await service.cancel_call(visitor.key, 7)
    await gate.wait(gate.left)


async def node_stops(visitor: Visitor, gate: Gate) -> None:
    await visitor.call("wait", {"text": SECRET}, id=7)
    await gate.wait(gate.entered)
    for call in visitor.endpoint.pool.nodes[0].registry.running:
        call.abandon_at_stop()


def calling(name: str, *before: str) -> Callable[[Visitor, Gate], Awaitable[None]]:
    async def call(visitor: Visitor, gate: Gate) -> None:
        for other in before:
            await visitor.call(other, {"text": "before"}, id=f"before {other}")
        await visitor.call(name, {"text": SECRET}, id=7)

    return call


async def with_wrong_arguments(visitor: Visitor, gate: Gate) -> None:
    await visitor.call("refuse", {"text": [SECRET]}, id=7)


async def too_often(visitor: Visitor, gate: Gate) -> None:
    for id in ("a", "b", 7, 8, 9):
        await visitor.call("say_no", {"text": SECRET}, id=id)


@dataclass(frozen=True)
class Case:
    """A way to fail, and what is known of it."""

    fail: Callable[[Visitor, Gate], Awaitable[None]]
    kind: FailureKind
    error: str = ""
    code: int | None = None
    message: str = ""
    tool: str = "wait"
    outcome: str = "error"


CASES = {
    "unknown tool": Case(calling("nothing"), FailureKind.UNKNOWN, "NotFound", -32602, "Unknown tool", "nothing"),
    "arguments": Case(with_wrong_arguments, FailureKind.INVALID, "ValidationError", None, "valid string", "refuse"),
    "exception": Case(calling("crash"), FailureKind.EXCEPTION, "ValueError", None, SECRET, "crash"),
    "ToolError": Case(calling("refuse"), FailureKind.TOOL_ERROR, "OutOfStock", None, f"no {SECRET}", "refuse"),
    "isError": Case(calling("say_no"), FailureKind.TOOL_ERROR, "", None, f"no {SECRET}", "say_no"),
    "MCPError": Case(
        calling("answer_with_a_code"), FailureKind.ERROR, "MCPError", -31000, SECRET, "answer_with_a_code"
    ),
    "timeout": Case(calling("sleep"), FailureKind.TIMEOUT, "", None, "did not end within", "sleep"),
    "too large": Case(calling("write"), FailureKind.TOO_LARGE, "TooLarge", None, "at most 1024", "write"),
    "by client": Case(by_client, FailureKind.BY_CLIENT, outcome="cancelled"),
    "by staff": Case(by_staff, FailureKind.BY_STAFF, "", -32800, "the server's staff", outcome="cancelled"),
    "rate": Case(too_often, FailureKind.REFUSED, "RATE_LIMITS", -32603, "too many requests", "say_no"),
    "circuit": Case(calling("ask", "ask"), FailureKind.REFUSED, "circuit_breaker", -32603, "circuit breaker", "ask"),
    "node": Case(node_stops, FailureKind.LOST, "", -32603, "the server stopped"),
}


@pytest.fixture
async def visitor(endpoint: Endpoint) -> Visitor:
    visitor = Visitor(endpoint, "desk", "ann")
    await visitor.open()
    return visitor


@pytest.fixture
def api(db: None) -> APIClient:
    cache.clear()
    client = APIClient()
    client.force_authenticate(User(pk=9999, username="root", is_superuser=True))
    return client


async def failed(visitor: Visitor, case: Case, gate: Gate) -> list[Any]:
    """Have a call fail; return the audit events of the calls."""
    node = await visitor.endpoint.pool.node()
    with receiving() as events:
        await case.fail(visitor, gate)
        await until(lambda: not node.registry.running)
        await node.tasks.wait_idle(60)
    return [event for event in events if isinstance(event, signals.ToolCalled) and event.request == "7"]


async def rest(api: APIClient, visitor: Visitor, query: str = "") -> Any:
    answer = await aside(api.get, f"/mcp-api/sessions/{visitor.key}/{query}")
    assert answer.status_code == 200
    return next(entry for entry in answer.json()["history"] if entry["request_id"] == 7)


async def in_timeline(client: Client, visitor: Visitor, query: str = "") -> Any:
    lines = (await aside(client.get, visitor.url("live") + query)).json()["timeline"]
    return next(line for line in lines if "request 7" in line["texts"])


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_cause_is_shown_everywhere(
    case: Case, boss: Client, api: APIClient, visitor: Visitor, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    [event] = await failed(visitor, case, gate)
    node, cause = visitor.endpoint.pool.nodes[0].id, (case.kind, case.error, case.code)
    code = "" if case.code is None else str(case.code)

    line = await in_timeline(boss, visitor, "?payloads=1")
    for text in (str(FAILURES[case.kind]), case.error, code):
        assert text in line["why"]
    assert line["texts"][0] == f"tools/call {case.tool}"
    assert f"node {node}" in line["texts"]
    assert case.message in line["payload"]
    assert SECRET in line["payload"], "the arguments"
    shown = page(await aside(boss.get, visitor.url()))
    assert str(FAILURES[case.kind]) in shown
    assert SECRET not in shown

    entry = await rest(api, visitor)
    assert (entry["failure"], entry["error"], entry["code"], entry["node"]) == (*cause, node)
    assert "message" not in entry
    entry = await rest(api, visitor, "?payloads=true")
    assert case.message in entry["message"]
    assert SECRET in entry["arguments"]

    detail = await service.session_detail(visitor.key)
    assert detail is not None
    printed = "\n".join(detail_lines(detail, all_processes=True))
    assert str(FAILURES[case.kind]) in printed
    assert SECRET not in printed
    assert SECRET in "\n".join(detail_lines(detail, all_processes=True, payloads=True))

    assert (event.kind, event.error, event.code, event.node) == (*cause, node)
    assert (event.tool, event.outcome, event.session) == (case.tool, case.outcome, visitor.short_id)
    assert case.message in event.message

    lines = [record for record in caplog.records if record.name == "mcp_transport.engine.call_failure"]
    [record] = [item for item in lines if item.__dict__["request_id"] == "7"]
    assert (record.__dict__["kind"], record.__dict__["error"], record.__dict__["code"]) == cause
    assert (record.__dict__["session"], record.__dict__["user"]) == (visitor.short_id, "ann")
    assert record.__dict__["tool"] == case.tool
    ending = f"session={visitor.short_id} request=7 user=ann tool={case.tool}"
    assert record.getMessage().endswith(ending)
    assert f"kind={case.kind}" in record.getMessage()
    assert SECRET not in record.getMessage()


@pytest.mark.parametrize("tools", [{"FAST_PATH": False}], indirect=True, ids=["SDK"])
@pytest.mark.parametrize("name", ["unknown tool", "arguments", "exception", "ToolError", "isError", "MCPError"])
async def test_cause_is_known_on_the_path_of_the_sdk_too(
    name: str, api: APIClient, visitor: Visitor, gate: Gate
) -> None:
    case = CASES[name]
    await failed(visitor, case, gate)
    entry = await rest(api, visitor)
    assert (entry["failure"], entry["error"], entry["code"]) == (case.kind, case.error, case.code)


async def test_flood_of_refusals_is_noted_once(visitor: Visitor, gate: Gate) -> None:
    await failed(visitor, CASES["rate"], gate)
    detail = await service.session_detail(visitor.key)
    assert detail is not None
    refused = [entry for entry in detail.history if entry.failure and entry.failure.kind is FailureKind.REFUSED]
    assert [entry.request_id for entry in refused] == [7], "those after it come within ten seconds"


@pytest.mark.parametrize("tools", [{}, {"FAILURE_PAYLOADS": True}], indirect=True, ids=["off", "texts withheld"])
async def test_payloads_are_kept_only_if_the_settings_say_so(
    request: pytest.FixtureRequest, boss: Client, api: APIClient, visitor: Visitor, gate: Gate
) -> None:
    is_on = "withheld" in request.node.name
    [event] = await failed(visitor, CASES["exception"], gate)
    entry = await rest(api, visitor, "?payloads=true")
    assert entry["error"] == "ValueError"
    assert (entry["message"], event.message) == (("Error executing tool crash",) * 2 if is_on else ("", ""))
    assert (SECRET in entry["arguments"]) == is_on
    line = await in_timeline(boss, visitor, "?payloads=1")
    assert (SECRET in line["payload"]) == is_on
    if not is_on:
        assert line["payload"] == "Not kept: see FAILURE_PAYLOADS."


async def test_payload_needs_its_own_permission(
    log_in: Any, transactional_db: None, api: APIClient, visitor: Visitor, gate: Gate
) -> None:
    await failed(visitor, CASES["exception"], gate)
    clerk = await aside(log_in, "view")
    line = await in_timeline(clerk, visitor, "?payloads=1")
    assert "ValueError" in line["why"]
    assert "payload" not in line
    assert SECRET not in page(await aside(clerk.get, f"{visitor.url()}?payloads=1"))
    api.force_authenticate(await User.objects.aget(username="clerk"))
    answer = await aside(api.get, f"/mcp-api/sessions/{visitor.key}/?payloads=true")
    assert answer.status_code == 403


async def test_records_of_a_tool_say_which_call_they_belong_to(
    visitor: Visitor, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own = CallFields()
    own_logger.addFilter(own)
    try:
        await failed(visitor, CASES["exception"], gate)
        own_logger.warning("outside of a call")
    finally:
        own_logger.removeFilter(own)
    inside, outside = [record.__dict__ for record in caplog.records if record.name == own_logger.name]
    names = ("session", "request_id", "user", "tool")
    assert [inside[name] for name in names] == [visitor.short_id, "7", "ann", "crash"]
    assert [outside[name] for name in names] == [""] * 4
    assert inside["message"] == "about to crash", "a project's own lines stay as they are"
    [crash] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert crash.getMessage() == (
        "the tool 'crash' raised an unexpected exception: ValueError "
        f"session={visitor.short_id} request=7 user=ann tool=crash"
    )
    assert [crash.__dict__[name] for name in names] == [visitor.short_id, "7", "ann", "crash"]
