"""Where functions of a project run, and what becomes of the errors they mean, make or leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_transport import Principal, prompt, resource, tool
from tests.support.calls import call, error_of, failure, result_of, returned
from tests.support.client import send_sessionless, until
from tests.support.clock import settle
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


def raising(error: Exception) -> Callable[[], Any]:
    def refuse() -> Any:
        raise error

    return refuse


async def test_a_tool_error_is_shown_to_the_model_and_a_protocol_error_answered_as_such(serve: Serve) -> None:
    tool(name="refuse")(raising(ToolError("Sold out.")))
    tool(name="broken")(raising(MCPError(-31000, "Not today", {"when": "tomorrow"})))
    assert await failure(serve(), "refuse") == "Error executing tool refuse: Sold out."
    error = await error_of(serve(), "tools/call", {"name": "broken", "arguments": {}})
    assert error == {"code": -31000, "message": "Not today", "data": {"when": "tomorrow"}}


async def test_a_synchronous_function_that_finds_no_next_item_fails(serve: Serve, caplog: Any) -> None:
    """StopIteration would end the coroutine that waits for it."""

    def no_next(*_: Principal) -> Any:
        return next(iter([]))

    def ask() -> Any:
        return no_next()

    tool(name="hidden", visible=no_next)(lambda: 1)
    for declare in (tool, resource("x://first"), prompt):
        declare(ask)
    async with asyncio.timeout(60):
        assert (await call(serve(), "ask"))["isError"]
        for method, params in (("resources/read", {"uri": "x://first"}), ("prompts/get", {"name": "ask"})):
            await error_of(serve(), method, params)
        assert [item["name"] for item in (await result_of(serve(), "tools/list"))["tools"]] == ["ask"]
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize("fast", [True, False])
async def test_names_of_wrong_arguments_are_logged_without_what_they_hold(
    serve: Serve, settings: Any, caplog: Any, fast: bool
) -> None:
    settings.MCP_TRANSPORT = {"FAST_PATH": fast}

    @tool
    def counts(numbers: dict[str, int]) -> int:
        raise AssertionError("it ran")

    with caplog.at_level(logging.INFO):
        assert "numbers" in await failure(serve(), "counts", {"numbers": {"hunter2": "x"}})
    assert "'numbers'" in caplog.text
    assert "hunter2" not in caplog.text


# -- callers that leave ------------------------------------------------------------------------------


async def leave(calling: asyncio.Task[Any], entered: threading.Event) -> None:
    """Leave a call that runs."""
    await asyncio.to_thread(entered.wait, 5)
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling


async def test_an_error_after_the_caller_has_left_is_logged(serve: Serve, caplog: Any) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @tool
    def late() -> int:
        entered.set()
        assert go_on.wait(5)
        raise LookupError(f"hunter{2}")

    await leave(asyncio.ensure_future(call(serve(), "late")), entered)
    go_on.set()
    await until(lambda: "failed after its caller had disconnected" in caplog.text)
    assert "late" in caplog.text and "LookupError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_function_that_its_caller_has_left_holds_memory_until_it_returns(serve: Serve) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @tool
    def holds(value: str) -> str:
        entered.set()
        go_on.wait(5)
        return "late"

    served, params = serve(), {"name": "holds", "arguments": {"value": "x" * 10_000}}
    try:
        await leave(asyncio.ensure_future(send_sessionless(served, "tools/call", params)), entered)
        await until(lambda: not served.pool.nodes[0].registry.running)
        await settle()
        assert served.budget.reserved_bytes > 10_000, "the thread has the argument"
    finally:
        go_on.set()
    await until(lambda: not served.budget.reserved_bytes)


# -- threads -----------------------------------------------------------------------------------------


async def test_async_tool_runs_on_the_loop(serve: Serve) -> None:
    loop = asyncio.get_running_loop()

    @tool
    async def where() -> bool:
        return threading.current_thread() is threading.main_thread() and asyncio.get_running_loop() is loop

    assert await returned(serve(), "where") is True


async def test_sync_tool_runs_in_a_thread_and_leaves_the_loop_free(serve: Serve) -> None:
    release = threading.Event()

    @tool
    def wait() -> str:
        assert release.wait(5)
        return threading.current_thread().name

    @tool
    async def let_go() -> None:
        release.set()

    endpoint = serve()
    waiting = asyncio.ensure_future(returned(endpoint, "wait"))
    await returned(endpoint, "let_go")
    async with asyncio.timeout(60):
        assert (await waiting).startswith("mcp-call")
