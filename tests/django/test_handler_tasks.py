"""Cancellations that nobody asked for, and tasks that handlers start: neither leaves a caller without an end."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from mcp_transport import Context, tool
from tests.django.test_misbehaving_handlers import CALL, ERAS, SECRET, declare_others, ended, text_of_failure
from tests.support.calls import call, opened, returned
from tests.support.client import until

pytestmark = pytest.mark.usefixtures("declarations")


async def exits() -> None:
    await asyncio.sleep(0)
    sys.exit(SECRET)


async def interrupts() -> None:
    raise KeyboardInterrupt(SECRET)


Leave = Callable[[], Any]


async def cancels_itself(leave: Leave) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel(SECRET)
    await asyncio.sleep(0)


async def awaits_what_was_cancelled(leave: Leave) -> None:
    inner = asyncio.ensure_future(asyncio.sleep(60))
    inner.cancel(SECRET)
    await inner


async def raises_after_its_own_cancellation(leave: Leave) -> None:
    try:
        await cancels_itself(leave)
    except asyncio.CancelledError as error:
        raise SystemExit(SECRET) from error


async def awaits_a_task(leave: Leave) -> None:
    await asyncio.create_task(leave())


async def gathers(leave: Leave) -> None:
    await asyncio.gather(leave(), leave())


async def groups(leave: Leave) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leave())


async def groups_of_anyio(leave: Leave) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(leave)


async def waits_for(leave: Leave) -> None:
    await asyncio.wait_for(leave(), 5)


async def a_task_of_a_task(leave: Leave) -> None:
    await asyncio.create_task(awaits_a_task(leave))


CANCELLING = (cancels_itself, awaits_what_was_cancelled, raises_after_its_own_cancellation)
STARTING = (awaits_a_task, gathers, groups, groups_of_anyio, waits_for, a_task_of_a_task)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("wrong", "leave"),
    [
        *((wrong, exits) for wrong in CANCELLING),
        *((wrong, leave) for wrong in STARTING for leave in (exits, interrupts)),
    ],
    ids=lambda function: function.__name__,
)
async def test_a_call_that_ends_itself_or_its_tasks_is_answered(
    wrong: Callable[[Leave], Awaitable[None]], leave: Leave, era: str, serve: Any, caplog: Any
) -> None:
    declare_others()

    @tool(name="wrong")
    async def misbehave(ctx: Context) -> None:
        await ctx.report_progress(1, 2)
        await wrong(leave)

    endpoint = serve()
    assert SECRET not in text_of_failure(await ended(endpoint, era, *CALL))
    assert not (await call(endpoint, "right")).get("isError")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("leave", [exits, interrupts])
async def test_a_task_that_nobody_awaits_exits_alone(leave: Leave, serve: Any) -> None:
    started: list[asyncio.Task[None]] = []

    @tool
    async def starts() -> str:
        started.append(asyncio.create_task(leave()))
        return "done"

    endpoint = serve()
    assert not (await call(endpoint, "starts")).get("isError")
    await asyncio.wait(started, timeout=5)
    assert isinstance(started[0].exception(), RuntimeError)
    assert not (await call(endpoint, "starts")).get("isError")


async def test_tasks_of_others_are_what_they_were(serve: Any) -> None:
    coroutines: list[Any] = []

    @tool
    async def looks() -> None:
        coroutines.append(asyncio.create_task(asyncio.sleep(0)).get_coro())

    await call(serve(), "looks")
    here = asyncio.create_task(asyncio.sleep(0))
    assert inspect.iscoroutine(here.get_coro()) and not inspect.iscoroutine(coroutines[0])
    assert here.get_coro().__qualname__ == coroutines[0].__qualname__
    await here


async def test_a_call_that_its_client_cancels_is_not_answered_with_a_failure(serve: Any, caplog: Any) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    @tool
    async def waits(ctx: Context) -> None:
        await ctx.report_progress(1, 2)
        entered.set()
        try:
            await asyncio.sleep(60)
        finally:
            left.set()

    client = await opened(serve())
    answer = await client.call("waits", id=7)
    await asyncio.wait_for(entered.wait(), 5)
    await client.notify("notifications/cancelled", {"requestId": 7})
    assert not [message for message in await answer.messages() if "id" in message]
    await asyncio.wait_for(left.wait(), 5)
    assert not [record for record in caplog.records if record.exc_info]


async def test_what_a_tool_returns_in_spite_of_its_cancellation_is_not_sent(serve: Any) -> None:
    """2025-11-25, cancellation, "Behavior Requirements": the receiver sends no response."""
    entered = asyncio.Event()

    @tool
    async def swallows() -> str:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "nevertheless"
        return ""

    client = await opened(serve())
    calling = asyncio.ensure_future(client.call("swallows", id=7))
    await asyncio.wait_for(entered.wait(), 5)
    await client.notify("notifications/cancelled", {"requestId": 7})
    assert await (await asyncio.wait_for(calling, 5)).messages() == []


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, RuntimeError])
async def test_what_a_tool_raises_when_it_is_cancelled_ends_its_call_alone(
    kind: type[BaseException], serve: Any
) -> None:
    entered = asyncio.Event()

    @tool
    async def raises() -> str:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise kind(SECRET) from error
        return ""

    endpoint = serve()
    client = await opened(endpoint)
    calling = asyncio.ensure_future(client.call("raises", id=7))
    await asyncio.wait_for(entered.wait(), 5)
    await client.notify("notifications/cancelled", {"requestId": 7})
    answer = await asyncio.wait_for(calling, 5)
    assert SECRET not in str(answer.body)
    node = await endpoint.node()
    await until(lambda: not node.running)
    assert (await client.request("ping")).status == 200


WITH_PYTHONS_OWN_HANDLER_OF_SIGINT = """
import asyncio, os, signal
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
import django

django.setup()
from mcp_transport import bootstrap, tool
from tests.support.client import send_sessionless

@tool
async def busy() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pass

call = send_sessionless(bootstrap.endpoint(), "tools/call", {"name": "busy", "arguments": {}})
asyncio.new_event_loop().run_until_complete(call)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_busy_tool_ends_a_process_that_leaves_it_to_python() -> None:
    words = [sys.executable, "-c", WITH_PYTHONS_OWN_HANDLER_OF_SIGINT]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


async def rows() -> Any:
    try:
        yield 1
    finally:
        sys.exit(SECRET)


async def leaves_a_generator() -> None:
    async for _ in rows():
        break
    for _ in range(5):  # the loop makes a task of its end, and runs that
        await asyncio.sleep(0)


class Exits:
    def __await__(self) -> Any:
        sys.exit(SECRET)
        yield


async def gathers_an_awaitable() -> None:
    await asyncio.gather(Exits())  # type: ignore[call-overload]


async def ensures_an_awaitable() -> None:
    await asyncio.ensure_future(Exits())


@pytest.mark.parametrize("work", [leaves_a_generator, gathers_an_awaitable, ensures_an_awaitable])
async def test_what_the_loop_itself_makes_tasks_of_exits_alone(work: Any, serve: Any) -> None:
    @tool
    async def wrong() -> str:
        await work()
        return "done"

    @tool
    async def other() -> str:
        return "served"

    endpoint = serve()
    assert SECRET not in str(await call(endpoint, "wrong"))
    assert await returned(endpoint, "other") == "served"
