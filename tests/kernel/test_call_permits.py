"""What a tool's function tells about its call: once for each run, whoever waits for it."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport.domain.circuit_breaker import CircuitBreaker, Result
from mcp_transport.exceptions import Overloaded
from mcp_transport.kernel import CallPermit, Refused, SharedPermits, begin_call, current_permit, result_of, watched
from mcp_transport.protocol.errors import overloaded

BREAKER = CircuitBreaker()
BUSY = Overloaded("busy", limit="TOOL_THREADS", key="server", retry_after=1.0)


class Recorded(CallPermit):
    """A permit that remembers its first result."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.has_started, self.is_open = False, is_open
        self.result: Result | None = None

    def begin(self) -> None:
        self.has_started = True
        if self.is_open:
            raise BUSY

    def settle(self, result: Result) -> None:
        self.result = self.result or result


async def settled(function: Any, permit: Recorded, *, waits: bool = False) -> Any:
    """Call a function as the call that has the permit; return its result or its exception."""
    current_permit.set(permit)
    try:
        return await watched(function, BREAKER, waits=waits)()
    except Exception as error:
        return error


async def test_what_a_function_does_becomes_the_result_of_its_permit() -> None:
    async def works() -> str:
        return "done"

    async def fails() -> str:
        raise OSError

    async def answers() -> str:
        raise ToolError("no such product")

    async def is_busy() -> str:
        raise Refused(overloaded(BUSY))

    expected = {works: Result.SUCCESS, fails: Result.FAILURE, answers: Result.SUCCESS, is_busy: Result.NOTHING}
    for function, result in expected.items():
        permit = Recorded()
        await settled(function, permit)
        assert (permit.result, permit.has_started) == (result, True)


async def test_without_a_permit_a_function_is_just_called() -> None:
    async def works() -> str:
        return "done"

    current_permit.set(None)
    assert await watched(works, BREAKER)() == "done"
    begin_call()


async def test_a_function_that_waits_for_a_thread_starts_there_unless_the_circuit_has_opened() -> None:
    runs: list[str] = []

    async def adapted() -> None:
        begin_call()
        runs.append("ran")

    permit = Recorded()
    await settled(adapted, permit, waits=True)
    assert (permit.has_started, runs) == (True, ["ran"])
    permit = Recorded(is_open=True)
    assert await settled(adapted, permit, waits=True) is BUSY
    assert runs == ["ran"]


async def test_a_cancelled_function_says_nothing_and_its_caller_decides() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    permit = Recorded()
    work = asyncio.ensure_future(settled(hangs, permit))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert permit.result is Result.NOTHING


async def test_a_run_that_several_calls_wait_for_counts_once() -> None:
    """As when equal calls share one run: it has the context of the call that began it."""
    go_on = asyncio.Event()

    async def shared() -> str:
        await go_on.wait()
        raise OSError

    first, follower = Recorded(), Recorded()
    current_permit.set(first)
    run = asyncio.get_running_loop().create_task(watched(shared, BREAKER)(), context=copy_context())
    current_permit.set(follower)
    go_on.set()
    for _ in (first, follower):
        with pytest.raises(OSError):
            await asyncio.shield(run)
    follower.settle(Result.NOTHING)  # as its call does at its end
    assert (first.result, follower.result) == (Result.FAILURE, Result.NOTHING)


def test_one_run_begins_for_all_of_its_calls_or_for_none() -> None:
    closed = [Recorded(), Recorded()]
    shared = SharedPermits(closed)
    shared.begin()
    shared.settle(Result.FAILURE)
    assert [(each.has_started, each.result) for each in closed] == [(True, None)] * 2
    with pytest.raises(Overloaded):
        SharedPermits([Recorded(), Recorded(is_open=True)]).begin()


@pytest.mark.parametrize(
    ("errors", "failures", "expected"),
    [
        ([OSError(), ToolError("none")], (Exception,), Result.FAILURE),
        ([ConnectionError(), KeyError()], (ConnectionError,), Result.FAILURE),
        ([KeyError(), asyncio.CancelledError()], (ConnectionError,), Result.SUCCESS),
        ([ToolError("none")], (Exception,), Result.SUCCESS),
        ([asyncio.CancelledError()], (Exception,), Result.NOTHING),
        ([KeyError()], (ExceptionGroup,), Result.FAILURE),
    ],
    ids=str,
)
def test_an_exception_group_tells_what_its_exceptions_tell(errors: Any, failures: Any, expected: Result) -> None:
    """As a task group raises it."""
    breaker = CircuitBreaker(failures=failures)
    assert result_of(breaker, BaseExceptionGroup("", [BaseExceptionGroup("", errors)])) is expected
