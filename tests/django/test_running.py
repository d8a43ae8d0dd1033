"""Running tools: what becomes of their errors, and on which thread with which database connections they run."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from django.db import connections
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_transport import Principal, bootstrap, prompt, resource, tool
from tests.support.calls import call, error_of, failure, result_of, returned
from tests.support.client import until

pytestmark = pytest.mark.usefixtures("declarations")


# -- errors of running tools -------------------------------------------------------------------------


async def test_tool_error_is_shown_to_the_model(serve):
    @tool
    def refuse():
        raise ToolError("Sold out.")

    assert (await failure(serve(), "refuse")).endswith(": Sold out.")


async def test_protocol_error_is_answered_as_such(serve):
    @tool
    def refuse():
        raise MCPError(-31000, "Not today", {"when": "tomorrow"})

    error = await error_of(serve(), "tools/call", {"name": "refuse", "arguments": {}})
    assert error == {"code": -31000, "message": "Not today", "data": {"when": "tomorrow"}}


async def test_unexpected_error_is_not_shown(serve):
    @tool
    def broken():
        raise RuntimeError("password=hunter2")

    result = await call(serve(), "broken")
    assert result["isError"]
    assert "hunter2" not in str(result)


async def test_arguments_are_checked_before_the_function_runs(serve):
    @tool
    def area(width: int) -> int:
        raise AssertionError("it ran")

    assert "width" in await failure(serve(), "area", {"width": "wide"})


async def test_a_synchronous_function_that_finds_no_next_item_fails(serve, caplog):
    @tool
    def first() -> str:
        return next(iter([]))

    def none(principal: Principal) -> bool:
        return next(iter([]))

    @resource("x://first")
    def read() -> str:
        return next(iter([]))

    @prompt
    def ask() -> str:
        return next(iter([]))

    async with asyncio.timeout(5):
        assert (await call(serve(), "first"))["isError"]
        for method, params in (("resources/read", {"uri": "x://first"}), ("prompts/get", {"name": "ask"})):
            await error_of(serve(), method, params)
        tool(name="hidden", visible=none)(lambda: 1)
        bootstrap._forget(setting="MCP_TRANSPORT")
        assert [item["name"] for item in (await result_of(serve(), "tools/list"))["tools"]] == ["first"]
    assert "RuntimeError" in caplog.text


async def test_an_error_after_the_caller_has_left_is_logged(serve, caplog):
    entered, go_on = threading.Event(), threading.Event()

    @tool
    def late() -> int:
        entered.set()
        assert go_on.wait(5)
        raise LookupError(f"hunter{2}")

    calling = asyncio.ensure_future(call(serve(), "late"))
    await asyncio.to_thread(entered.wait, 5)
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    go_on.set()
    await until(lambda: "failed in a call whose caller had left" in caplog.text)
    assert "late" in caplog.text and "LookupError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_names_of_wrong_arguments_are_logged_without_what_they_hold(serve, caplog):
    @tool
    def counts(numbers: dict[str, int]) -> int:
        return len(numbers)

    with caplog.at_level(logging.INFO):
        await failure(serve(), "counts", {"numbers": {"hunter2": "x"}})
    assert "'numbers'" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("kind", ["generator function", "generator", "map", "iterator", "asynchronous"])
async def test_what_is_lazy_is_read_in_the_thread(kind, serve):
    def numbers() -> Iterator[threading.Thread]:
        for _ in range(2):
            yield threading.current_thread().name

    def generator() -> Iterator[str]:
        yield from numbers()

    def returned_generator() -> list[str]:
        return numbers()

    def mapped() -> list[str]:
        return map(str, numbers())

    def iterator() -> Iterable[str]:
        return (name for name in numbers())

    async def asynchronous() -> list[str]:
        return numbers()

    functions = (generator, returned_generator, mapped, iterator, asynchronous)
    kinds = ("generator function", "generator", "map", "iterator", "asynchronous")
    tool(name="lazy")(dict(zip(kinds, functions, strict=True))[kind])
    names = await returned(serve(), "lazy")
    assert names == ["mcp-call"] * 2


# -- where functions run -----------------------------------------------------------------------------


async def test_async_tool_runs_on_the_loop(serve):
    @tool
    async def where() -> bool:
        return threading.current_thread() is threading.main_thread() and asyncio.get_running_loop() is loop

    loop = asyncio.get_running_loop()
    assert await returned(serve(), "where") is True


async def test_sync_tool_runs_in_a_thread_and_leaves_the_loop_free(serve):
    started, release = threading.Event(), threading.Event()

    @tool
    def wait() -> str:
        started.set()
        assert release.wait(5)
        return threading.current_thread().name

    @tool
    async def let_go() -> None:
        release.set()

    endpoint = serve()
    waiting = asyncio.ensure_future(returned(endpoint, "wait"))
    await returned(endpoint, "let_go")
    async with asyncio.timeout(5):
        assert (await waiting).startswith("mcp-call")
    assert started.is_set()


@pytest.fixture
def file_database(tmp_path: Path, monkeypatch, django_db_blocker) -> Iterator[str]:
    """A database in a file, of an alias that no thread knows from another test."""
    entry = {**connections.settings["default"], "NAME": str(tmp_path / "file.sqlite3")}
    monkeypatch.setitem(connections.settings, tmp_path.name, entry)
    with django_db_blocker.unblock():
        yield tmp_path.name


@pytest.mark.parametrize("fails", [False, True])
async def test_sync_tool_leaves_no_database_connection_open(fails, file_database, serve):
    used = []

    @tool
    def query() -> int:
        connection = connections[file_database]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        used.append((connection, connection.connection))
        if fails:
            raise ToolError("after the query")
        return 1

    result = await call(serve(), "query")
    assert result.get("isError", False) is fails
    [(wrapper, opened)] = used
    assert opened is not None
    await until(lambda: wrapper.connection is None)


async def test_sync_tool_does_not_meet_an_outdated_connection(file_database, settings, serve):
    connections.settings[file_database]["CONN_MAX_AGE"] = None  # kept between calls, as projects may have it
    opened, wrappers, threads = [], [], []

    @tool
    def query() -> int:
        connection = connections[file_database]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        opened.append(connection.connection)
        wrappers.append(connection)
        threads.append(threading.current_thread())
        return 1

    endpoint = serve()
    async with asyncio.timeout(5):
        while len(set(map(id, opened))) == len(opened):  # until a thread is met again, with its connection
            await returned(endpoint, "query")
    outdated, thread = opened[-1], threads[-1]
    wrappers[-1].close_at = 0  # its time is over
    opened.clear()
    threads.clear()
    async with asyncio.timeout(5):
        while thread not in threads:
            await returned(endpoint, "query")
    assert outdated not in opened
