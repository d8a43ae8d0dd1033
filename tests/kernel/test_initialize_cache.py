"""A second `initialize` with equal parameters gets the cached result; any difference bypasses the cache."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import ServerRunner

from mcp_transport.kernel import Kernel, apply_spec_corrections
from mcp_transport.kernel.fast_path import path
from mcp_transport.protocol.jsonrpc import Outcome
from tests.support.kernel import ON_THE_FAST_PATH, Recorder, exchange


def parameters(**changes: Any) -> dict[str, Any]:
    client = {"name": "c", "version": "1"}
    return {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client, **changes}


@pytest.fixture
def server() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("greeter", version="3", instructions="be kind")
    apply_spec_corrections(server)
    return server


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the parameters of `initialize` that the SDK handled itself."""
    handled_params: list[Any] = []
    handle = ServerRunner._handle_initialize

    def note(runner: Any, params: Any) -> Any:
        handled_params.append(params)
        return handle(runner, params)

    monkeypatch.setattr(ServerRunner, "_handle_initialize", note)
    return handled_params


async def greeted(kernel: Kernel, **changes: Any) -> Outcome:
    return await kernel.initialize(exchange(Recorder()), parameters(**changes))


async def test_the_same_words_have_the_same_answer(server: MCPServer[Any], handled: list[Any], fast: bool) -> None:
    kernel = Kernel(server)
    first, second = await greeted(kernel), await greeted(kernel)
    assert first == second == await greeted(Kernel(server))
    assert first.result is not None and first.result["instructions"] == "be kind"
    assert len(handled) == (2 if fast else 3)  # one for each kernel, without the fast path each


@pytest.mark.parametrize("change", [{"protocolVersion": "2025-06-18"}, {"capabilities": {"roots": {}}}], ids=str)
async def test_other_words_are_handled(server: MCPServer[Any], handled: list[Any], change: dict[str, Any]) -> None:
    kernel = Kernel(server)
    await greeted(kernel)
    outcome = await greeted(kernel, **change)
    assert handled[1:] == [parameters(**change)]
    assert outcome.result is not None
    assert outcome.result["protocolVersion"] == parameters(**change)["protocolVersion"]


async def test_wrong_words_are_refused_each_time(server: MCPServer[Any]) -> None:
    kernel = Kernel(server)
    await greeted(kernel)
    outcomes = [await greeted(kernel, clientInfo={"name": 1}) for _ in range(2)]
    assert all(outcome.error is not None and outcome.error["code"] == -32602 for outcome in outcomes)


async def test_a_server_that_says_something_else_of_itself_is_asked_again(server: MCPServer[Any]) -> None:
    kernel = Kernel(server)
    await greeted(kernel)
    server._lowlevel_server.instructions = "be brief"
    outcome = await greeted(kernel)
    assert outcome.result is not None and outcome.result["instructions"] == "be brief"


async def test_a_middleware_hears_of_each(server: MCPServer[Any]) -> None:
    methods: list[str] = []

    async def middleware(ctx: Any, call_next: Any) -> Any:
        methods.append(ctx.method)
        return await call_next(ctx)

    kernel = Kernel(server)
    await greeted(kernel)
    server._lowlevel_server.middleware.append(middleware)
    await greeted(kernel)
    await greeted(kernel)
    assert methods == ["initialize"] * 2


@ON_THE_FAST_PATH
async def test_long_words_are_not_kept_and_short_ones_not_without_end(
    server: MCPServer[Any], handled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "_MAX_INITIALIZED", 3)
    kernel = Kernel(server)
    long = {"name": "c" * 5000, "version": "1"}
    for _ in range(2):
        await greeted(kernel, clientInfo=long)
    assert len(handled) == 2
    for number in range(10):
        await greeted(kernel, clientInfo={"name": str(number), "version": "1"})
    fast: Any = kernel._path
    assert 0 < len(fast._initialized) <= 3
