"""Rate limits of the settings and of `@tool`, through the view, under ASGI and WSGI."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.checks import run_checks
from django.test import AsyncClient, Client

from mcp_transport import tool
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import DefinitionError
from mcp_transport.protocol.http import HTTPRequest
from tests.support.client import ENVELOPE, send_sessionless
from tests.support.project import Serve


def tenant(principal: Principal, request: HTTPRequest) -> str | None:
    return request.headers.get("x-tenant")


@pytest.fixture
def greet(declarations: Any) -> None:
    @tool
    def greet() -> str:
        return "hello"


def body_of(name: str) -> tuple[bytes, dict[str, str]]:
    params = {"name": name, "arguments": {}, "_meta": ENVELOPE}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": name}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(body).encode(), {**headers, "accept": "application/json, text/event-stream"}


async def call(serve: Serve, name: str = "greet", **headers: str) -> int:
    more: dict[str, str | None] = {name.replace("_", "-"): value for name, value in headers.items()}
    params = {"name": name, "arguments": {}}
    return (await send_sessionless(serve(), "tools/call", params, headers=more)).status


@pytest.mark.usefixtures("greet")
async def test_the_setting_limits_callers(settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = {"RATE_LIMITS": {"caller": "2/min"}}
    assert [await call(serve) for _ in range(3)] == [200, 200, 429]


@pytest.mark.usefixtures("greet")
async def test_a_function_of_the_project_limits_what_it_names(settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = {"RATE_LIMITS": {f"{__name__}.tenant": "1/min"}}
    assert [await call(serve, x_tenant="a"), await call(serve, x_tenant="a")] == [200, 429]
    assert [await call(serve, x_tenant="b"), await call(serve), await call(serve)] == [200, 200, 200]


async def test_a_tool_has_its_own_rate_in_place_of_the_settings(
    settings: Any, declarations: Any, serve: Serve
) -> None:
    settings.MCP_TRANSPORT = {"RATE_LIMITS": {"tool": "1/min"}}
    tool(name="own", rate_limit=["2/min", "100/h"])(lambda: "x")
    tool(name="other")(lambda: "x")
    assert [await call(serve, "own") for _ in range(3)] == [200, 200, 429]
    assert [await call(serve, "other") for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("rate", ["often", 5, [], ["1/s", None], {"1/s"}])
def test_a_tool_with_a_wrong_rate_is_refused_where_it_is_declared(declarations: Any, rate: Any) -> None:
    with pytest.raises(DefinitionError, match=r"the tool 'wrong': rate_limit: expected a rate"):

        @tool(rate_limit=rate)
        def wrong() -> str:
            return "x"

    assert not declarations.tools


def test_the_check_also_knows_the_rates_of_tools(declarations: Any, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("mcp_transport.checks.declared", lambda: declarations)
    settings.MCP_TRANSPORT = {"WORKERS": 2}
    assert "mcp_transport.W016" not in [item.id for item in run_checks()]
    tool(name="own", rate_limit="2/min")(lambda: "x")
    assert "mcp_transport.W016" in [item.id for item in run_checks()]


@pytest.mark.usefixtures("greet")
async def test_the_view_answers_429_with_when_to_come_back(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RATE_LIMITS": {"caller": "1/min"}}
    body, headers = body_of("greet")
    answers = [await AsyncClient().post("/mcp", body, "application/json", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert 59 <= int(answers[1].headers["Retry-After"]) <= 60
    assert answers[1].json()["error"]["data"]["limit"] == "RATE_LIMITS"


@pytest.mark.usefixtures("greet")
async def test_under_wsgi_the_requests_of_a_process_count_together(settings: Any) -> None:
    """Each request has an event loop of its own there."""
    settings.MCP_TRANSPORT = {"RATE_LIMITS": {"caller": "2/min"}}
    body, headers = body_of("greet")
    post = sync_to_async(Client().post)
    statuses = [(await post("/mcp", body, "application/json", headers=headers)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
