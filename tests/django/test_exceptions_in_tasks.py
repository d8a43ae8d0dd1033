"""Exceptions in tasks that handlers start, and cancellations: neither leaves a caller without an end."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from mcp_transport import Context, tool
from tests.django.declared import each_era, response
from tests.django.raised import SECRET, text_of_failure
from tests.support.calls import call, opened
from tests.support.client import until
from tests.support.project import Serve

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


@each_era
@pytest.mark.parametrize(
    ("wrong", "leave"),
    [
        *((wrong, exits) for wrong in CANCELLING),
        *((wrong, exits) for wrong in STARTING),
        *((wrong, interrupts) for wrong in STARTING[:3]),
    ],
    ids=lambda function: function.__name__,
)
async def test_a_call_that_ends_itself_or_its_tasks_is_answered(
    wrong: Callable[[Leave], Awaitable[None]], leave: Leave, era: str, serve: Serve, caplog: Any
) -> None:
    tool(name="right")(lambda: "done")

    @tool(name="wrong")
    async def misbehave(ctx: Context) -> None:
        await ctx.report_progress(1, 2)
        await wrong(leave)

    endpoint = serve()
    text_of_failure(await response(endpoint, era, "tools/call", {"name": "wrong", "arguments": {}}))
    assert not (await call(endpoint, "right")).get("isError")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("leave", [exits, interrupts])
async def test_a_task_that_nobody_awaits_exits_alone(leave: Leave, serve: Serve) -> None:
    started: list[asyncio.Task[None]] = []

    @tool
    async def starts() -> str:
        started.append(asyncio.create_task(leave()))
        return "done"

    endpoint = serve()
    assert not (await call(endpoint, "starts")).get("isError")
    assert not (await call(endpoint, "starts")).get("isError")
    await asyncio.wait(started)
    assert [type(task.exception()) for task in started] == [RuntimeError, RuntimeError]


async def test_tasks_of_others_are_what_they_were(serve: Serve) -> None:
    coroutines: list[Any] = []

    @tool
    async def looks() -> None:
        coroutines.append(asyncio.create_task(asyncio.sleep(0)).get_coro())

    await call(serve(), "looks")
    here = asyncio.create_task(asyncio.sleep(0))
    own: Any = here.get_coro()
    assert inspect.iscoroutine(own) and not inspect.iscoroutine(coroutines[0])
    assert own.__qualname__ == coroutines[0].__qualname__
    await here


# -- cancellations -----------------------------------------------------------------------------------


def returns_nevertheless() -> str:
    return "nevertheless"


def goes_on_with_its_cancellation() -> str:
    raise asyncio.CancelledError


def raises(kind: type[BaseException]) -> Callable[[], str]:
    def fail() -> str:
        raise kind(SECRET)

    fail.__name__ = kind.__name__
    return fail


@pytest.mark.parametrize(
    "end",
    [
        *(goes_on_with_its_cancellation, returns_nevertheless),
        *map(raises, (SystemExit, KeyboardInterrupt, GeneratorExit, RuntimeError)),
    ],
    ids=lambda function: function.__name__,
)
@pytest.mark.parametrize("speaks", [True, False], ids=["in a stream", "before an answer"])
async def test_a_call_that_its_client_cancels_ends_alone_and_is_not_answered(
    end: Callable[[], str], speaks: bool, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """2025-11-25, cancellation, "Behavior Requirements": the receiver sends no response."""
    entered, left = asyncio.Event(), asyncio.Event()

    @tool
    async def waits(ctx: Context) -> str:
        if speaks:
            await ctx.report_progress(1, 2)
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return end()
        finally:
            left.set()
        return ""

    endpoint = serve()
    client = await opened(endpoint)
    calling = asyncio.ensure_future(client.call("waits", id=7))
    await asyncio.wait_for(entered.wait(), 5)
    await client.notify("notifications/cancelled", {"requestId": 7})
    answer = await asyncio.wait_for(calling, 5)
    assert [message["method"] for message in await answer.messages()] == ["notifications/progress"] * speaks
    await asyncio.wait_for(left.wait(), 5)
    node = await endpoint.pool.node()
    await until(lambda: not node.registry.running)
    if end in (goes_on_with_its_cancellation, returns_nevertheless):
        # asyncio may still log tasks of other tests, which nobody waited for.
        ours = [record for record in caplog.records if record.name.startswith("mcp_transport")]
        assert not [record for record in ours if record.exc_info]
    assert SECRET not in caplog.text
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
    arguments = [sys.executable, "-c", WITH_PYTHONS_OWN_HANDLER_OF_SIGINT]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
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
        leave_the_process()
        yield


def leave_the_process() -> None:
    sys.exit(SECRET)


async def gathers_an_awaitable() -> None:
    await asyncio.gather(Exits())


async def ensures_an_awaitable() -> None:
    await asyncio.ensure_future(Exits())


@pytest.mark.parametrize("work", [leaves_a_generator, gathers_an_awaitable, ensures_an_awaitable])
async def test_what_the_loop_itself_makes_tasks_of_exits_alone(work: Any, serve: Serve) -> None:
    tool(name="wrong")(work)
    tool(name="right")(lambda: "done")
    endpoint = serve()
    assert SECRET not in str(await call(endpoint, "wrong"))
    assert not (await call(endpoint, "right")).get("isError")
    gc.collect()  # the loop logs now, and not in another test, that nobody has asked for the task's exception
