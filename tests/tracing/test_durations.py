"""Durations by the semantic conventions for MCP: names, attributes and boundaries, and nothing a client invents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from opentelemetry import metrics
from opentelemetry.metrics import _internal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import is_measured
from mcp_transport.kernel.otel_metrics import operation_attributes, protocol_attributes
from mcp_transport.protocol.jsonrpc import Outcome
from tests.support.client import SessionClient, send_sessionless
from tests.support.clock import settle

OPERATION, SESSION = "mcp.server.operation.duration", "mcp.server.session.duration"
BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
HTTP = {"network.transport": "tcp", "network.protocol.name": "http"}
OLD, NEW = "2025-11-25", "2026-07-28"


class Recorded:
    """The points of this process's meter provider."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def found(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        return {
            metric.name: metric for scope in scopes if scope.scope.name == "mcp_transport" for metric in scope.metrics
        }

    def points(self, name: str = OPERATION) -> list[tuple[dict[str, Any], int]]:
        """Return attributes and counts, without those of HTTP, which all have."""
        points = self.found()[name].data.data_points if name in self.found() else ()
        for point in points:
            assert HTTP.items() <= dict(point.attributes).items()
        return [
            (
                {k: v for k, v in point.attributes.items() if k not in HTTP and k != "network.protocol.version"},
                point.count,
            )
            for point in points
        ]

    def of(self, method: str) -> list[tuple[dict[str, Any], int]]:
        """Return the points of a method, without it."""
        return [
            ({key: value for key, value in attributes.items() if key != "mcp.method.name"}, count)
            for attributes, count in self.points()
            if attributes["mcp.method.name"] == method
        ]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    recorded = Recorded()
    monkeypatch.setattr(_internal, "_METER_PROVIDER", recorded.provider)
    yield recorded
    recorded.provider.shutdown()


@pytest.fixture
def entered() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def server(entered: asyncio.Event) -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("measured")

    @server.tool()
    async def search() -> str:
        return "found"

    @server.tool()
    async def refuse() -> str:
        raise ToolError("no")

    @server.tool()
    async def wait() -> str:
        entered.set()
        await asyncio.Event().wait()
        return "never"

    @server.prompt()
    def greet() -> str:
        return "hello"

    return server


@pytest.fixture
def served(build_endpoint: Any, server: MCPServer[Any]) -> Endpoint:
    built: Endpoint = build_endpoint(server=server)
    return built


async def test_operations_of_both_eras_have_the_attributes_and_boundaries_of_the_conventions(
    served: Endpoint, recorded: Recorded
) -> None:
    assert is_measured()
    client = SessionClient(served, OLD)
    await client.open()
    await settle()
    for name in ("search", "search", "refuse"):
        await client.request("tools/call", {"name": name, "arguments": {}})
    await send_sessionless(served, "tools/call", {"name": "search", "arguments": {}})
    await client.request("prompts/get", {"name": "greet"})
    await client.request("tools/list")
    await settle()
    tool = {"gen_ai.operation.name": "execute_tool"}
    points = recorded.of("tools/call")
    assert len(points) == 3
    assert ({"mcp.protocol.version": OLD, "gen_ai.tool.name": "search", **tool}, 2) in points
    assert ({"mcp.protocol.version": NEW, "gen_ai.tool.name": "search", **tool}, 1) in points
    failed = {"mcp.protocol.version": OLD, "gen_ai.tool.name": "refuse", "error.type": "tool_error", **tool}
    assert (failed, 1) in points
    assert recorded.of("prompts/get") == [({"mcp.protocol.version": OLD, "gen_ai.prompt.name": "greet"}, 1)]
    for method in ("tools/list", "initialize", "notifications/initialized"):
        assert recorded.of(method) == [({"mcp.protocol.version": OLD}, 1)]
    metric = recorded.found()[OPERATION]
    assert metric.unit == "s"
    assert {tuple(point.explicit_bounds) for point in metric.data.data_points} == {BOUNDS}


async def test_sessions_that_are_closed_have_a_duration(served: Endpoint, recorded: Recorded, clock: Any) -> None:
    client = SessionClient(served, OLD)
    await client.open()
    await clock.advance(7)
    assert recorded.points(SESSION) == []
    await client.delete()
    [(attributes, count)] = recorded.points(SESSION)
    assert (attributes, count) == ({"mcp.protocol.version": OLD}, 1)
    [point] = recorded.found()[SESSION].data.data_points
    assert point.sum == pytest.approx(7, abs=0.5)
    assert tuple(point.explicit_bounds) == BOUNDS


async def test_names_that_clients_invent_are_no_attributes(served: Endpoint, recorded: Recorded) -> None:
    client = SessionClient(served, OLD)
    await client.open()
    await settle()
    for number in range(50):
        await client.request("tools/call", {"name": f"tool {number}", "arguments": {}})
        await client.request("prompts/get", {"name": f"prompt {number}"})
        await client.request(f"method/{number}")
        await client.notify(f"notifications/{number}")
        await send_sessionless(served, f"method/{number}", {})
    await settle()
    names = ("gen_ai.tool.name", "gen_ai.prompt.name")
    values = {attributes[name] for attributes, _ in recorded.points() for name in names if name in attributes}
    assert values <= {"_OTHER"}
    assert len(recorded.points()) < 12
    assert {attributes["mcp.method.name"] for attributes, _ in recorded.points()} == {
        *("initialize", "notifications/initialized", "tools/call", "prompts/get", "_OTHER"),
    }


async def test_a_call_that_its_client_cancels_is_one_of_its_own_kind(
    served: Endpoint, recorded: Recorded, entered: asyncio.Event
) -> None:
    call = asyncio.ensure_future(send_sessionless(served, "tools/call", {"name": "wait", "arguments": {}}))
    async with asyncio.timeout(60):
        await entered.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await settle()
    [(attributes, _)] = recorded.of("tools/call")
    assert (attributes["error.type"], attributes["gen_ai.tool.name"]) == ("cancelled", "wait")


async def test_without_a_provider_nothing_is_recorded_and_one_that_comes_late_is_used(
    served: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_measured()
    client = SessionClient(served, OLD)
    await client.open()
    await client.request("tools/call", {"name": "search", "arguments": {}})
    recorded = Recorded()
    with monkeypatch.context() as patch:
        patch.setattr(_internal, "_METER_PROVIDER", recorded.provider)
        await client.request("tools/call", {"name": "search", "arguments": {}})
        await settle()
        assert [count for _, count in recorded.points()] == [1]
    recorded.provider.shutdown()


async def test_a_provider_that_fails_fails_no_call(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(metrics.NoOpMeterProvider):
        def get_meter(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("what a bad provider raises")

    monkeypatch.setattr(_internal, "_METER_PROVIDER", Failing())
    client = SessionClient(served, OLD)
    await client.open()
    answer = await client.request("tools/call", {"name": "search", "arguments": {}})
    assert answer.status == 200
    assert (await client.delete()).status == 204


@pytest.mark.parametrize(
    ("outcome", "added"),
    [
        (Outcome(result={}), {}),
        (Outcome(result={"isError": True}), {"error.type": "tool_error"}),
        (Outcome(error={"code": -32603}), {"rpc.response.status_code": "-32603", "error.type": "-32603"}),
        (Outcome(error={"code": -32001}), {"rpc.response.status_code": "-32001", "error.type": "-32001"}),
        *[
            (Outcome(error={"code": code}), {"rpc.response.status_code": str(code)})
            for code in (-32700, -32600, -32601, -32602, -32002)
        ],
        (None, {"error.type": "cancelled"}),
    ],
)
def test_errors_of_callers_are_no_errors_of_the_server(outcome: Outcome | None, added: dict[str, str]) -> None:
    attributes = operation_attributes("tools/call", "search", NEW, outcome)
    assert attributes == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": NEW,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        **added,
    }


def test_a_result_of_another_method_is_no_tool_error_and_other_names_have_the_name_of_the_conventions() -> None:
    attributes = operation_attributes("resources/read", "", NEW, Outcome(result={"isError": True}))
    assert attributes == {"mcp.method.name": "resources/read", "mcp.protocol.version": NEW}
    assert operation_attributes("tools/call", "other", NEW, None)["gen_ai.tool.name"] == "_OTHER"
    assert operation_attributes("unknown", "", NEW, None)["mcp.method.name"] == "_OTHER"


@pytest.mark.parametrize(("http", "transport"), [("1.1", "tcp"), ("2", "tcp"), ("3", "quic"), ("", "tcp")])
def test_the_transport_is_that_of_the_http_version(http: str, transport: str) -> None:
    attributes = protocol_attributes(http)
    assert attributes["network.transport"] == transport
    assert attributes.get("network.protocol.version", "") == http
