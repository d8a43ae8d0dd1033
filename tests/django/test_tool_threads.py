"""Threads for synchronous tools: what a caller may have of them, and what happens to those that never return."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from mcp_transport import tool
from mcp_transport.exceptions import DefinitionError
from tests.support.calls import opened, returned
from tests.support.client import send_sessionless, text_of, until
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

HOSTILE, OTHER = User(pk=1, username="hostile"), User(pk=2, username="other")
HANG: dict[str, Any] = {"name": "hang", "arguments": {}}


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Let the functions that hang return, at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def declare(release: threading.Event, **options: Any) -> list[str]:
    """Declare a tool that hangs, and two that do not; return a list of what began to hang."""
    begun: list[str] = []

    @tool(**options)
    def hang() -> str:
        begun.append("hang")
        release.wait(20)
        return "returned"

    @tool(read_only=True)
    def quick() -> str:
        return "quick"

    @tool
    async def awaits() -> str:
        return "awaited"

    return begun


async def test_calls_that_never_return_leave_threads_to_others_and_do_not_delay_anything_else(
    serve: Serve, settings: Any, release: threading.Event
) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": 4}
    begun = declare(release)
    served = serve()
    hostile, other = await opened(served, HOSTILE), await opened(served, OTHER)
    stuck = [asyncio.ensure_future(hostile.call("hang")) for _ in range(8)]
    await until(lambda: len(begun) == 3 and served.pool.gauges().waiting_calls == 5)
    assert await returned(served, "quick", user=OTHER) == "quick"
    assert await returned(served, "awaits", user=HOSTILE) == "awaited"
    assert (await hostile.request("ping")).status == (await other.request("tools/list")).status == 200
    assert len(begun) == 3
    assert await served.pool.unready_reason() == ""
    release.set()
    assert [text_of((await call).json) for call in stuck] == ["returned"] * 8
    assert (served.pool.gauges().threads, served.pool.gauges().waiting_calls) == (0, 0)
    assert served.call_metrics.since_start().waits.calls == 5


async def test_a_call_that_finds_neither_a_thread_nor_a_place_in_the_queue_is_refused(
    serve: Serve, settings: Any, release: threading.Event
) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": 1, "MAX_QUEUED_CALLS": 0}
    begun = declare(release)
    served = serve()
    first = asyncio.ensure_future(send_sessionless(served, "tools/call", HANG))
    await until(lambda: bool(begun))
    answer = await send_sessionless(served, "tools/call", {"name": "quick", "arguments": {}}, user=OTHER)
    assert (answer.status, answer.json["error"]["data"]["limit"]) == (503, "TOOL_THREADS")
    assert answer.headers["retry-after"] == "5"
    release.set()
    assert text_of((await first).json) == "returned"


async def test_a_wait_for_a_thread_ends_with_the_same_error(
    serve: Serve, settings: Any, release: threading.Event
) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": 1, "QUEUE_TIMEOUT_SECONDS": 0.05}
    begun = declare(release)
    served = serve()
    first = asyncio.ensure_future(send_sessionless(served, "tools/call", HANG))
    await until(lambda: bool(begun))
    answer = await send_sessionless(served, "tools/call", {"name": "quick", "arguments": {}}, user=OTHER)
    error = answer.json["error"]
    assert (answer.status, error["code"]) == (503, -32603)
    assert error["data"] == {"retryable": True, "limit": "TOOL_THREADS", "key": "server", "retryAfterMs": 25}
    release.set()
    await first


async def test_a_thread_whose_call_has_ended_is_lost_until_it_returns_and_without_any_the_node_is_not_ready(
    serve: Serve, settings: Any, release: threading.Event
) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": 1}
    declare(release, timeout=0.05)
    served = serve()
    answer = await send_sessionless(served, "tools/call", HANG)
    assert "it did not end within 0.05 s" in text_of(answer.json)
    assert answer.json["result"]["isError"]
    assert (served.pool.gauges().threads, served.pool.gauges().lost_threads) == (1, 1)
    assert "no synchronous tool can run" in await served.pool.unready_reason()
    assert await returned(served, "awaits") == "awaited"
    release.set()
    await until(lambda: served.pool.gauges().lost_threads == 0)
    assert served.pool.gauges().threads == 0
    assert await served.pool.unready_reason() == ""
    assert await returned(served, "quick") == "quick"


async def test_the_defaults_protect(serve: Serve, release: threading.Event) -> None:
    begun = declare(release)
    served = serve()
    stuck = [
        asyncio.ensure_future(send_sessionless(served, "tools/call", HANG, user=HOSTILE)) for _ in range(24 + 250)
    ]
    await until(lambda: len(begun) == 24 and served.pool.gauges().waiting_calls == 250)
    refused = await send_sessionless(served, "tools/call", HANG, user=HOSTILE)
    assert (refused.status, refused.json["error"]["data"]["key"]) == (429, "caller")
    assert await returned(served, "quick", user=OTHER) == "quick"
    release.set()
    assert {text_of((await call).json) for call in stuck} == {"returned"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_concurrency": 0}, "max_concurrency must be an integer, 1 or more, got 0"),
        ({"max_concurrency": True}, "max_concurrency must be an integer, 1 or more, got True"),
        ({"max_concurrency": 1.5}, "max_concurrency must be an integer, 1 or more, got 1.5"),
        ({"timeout": 0}, "timeout must be a number, 0.001 or more, got 0"),
        ({"timeout": math.nan}, "timeout must be a number, 0.001 or more, got nan"),
        ({"timeout": "5"}, "timeout must be a number, 0.001 or more, got '5'"),
        ({"max_result_bytes": 10}, "max_result_bytes must be an integer, 1024 or more, got 10"),
    ],
)
def test_limits_that_are_none_are_refused_where_they_are_declared(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):

        @tool(**options)
        def limited() -> str:
            return ""


async def test_a_tool_may_run_without_a_timeout(serve: Serve, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"TOOL_TIMEOUT_SECONDS": 0.01}

    @tool(timeout=math.inf)
    async def slow() -> str:
        await asyncio.sleep(0.05)
        return "slow"

    assert await returned(serve(), "slow") == "slow"
