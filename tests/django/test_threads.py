"""Which thread and which connection synchronous code of a call has, and what is left of both when the call ends."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections, transaction
from django.test import Client

from mcp_transport import Context, Principal, completion, prompt, resource, threads, tool
from mcp_transport.asgi import mount
from mcp_transport.bootstrap import endpoint
from mcp_transport.connections import release_connections
from mcp_transport.threads import in_thread, shared_thread
from tests.support.calls import opened, result_of, returned
from tests.support.client import send_sessionless, until
from tests.support.clock import settle
from tests.support.inprocess import Direct, Visit, scope_of
from tests.support.requests import Session, call

pytestmark = pytest.mark.usefixtures("declarations")

DJANGOS = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
SYNCHRONOUS = [*DJANGOS, "tests.django.test_threads.Synchronous"]


class Synchronous:
    """A middleware as in Django's documentation; it queries the database."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        request.opened = connections["default"]
        return self.get_response(request)


@pytest.fixture
def file_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> Iterator[dict[str, Any]]:
    """Take a database in a file for `default`, as other databases are: each thread has a connection, which closes."""
    entry = {**connections.settings["default"], "NAME": str(tmp_path / "file.sqlite3")}
    monkeypatch.setitem(connections.settings, "default", entry)
    own = connections["default"]
    del connections["default"]
    with django_db_blocker.unblock():
        yield entry
    connections["default"].close()
    connections["default"] = own


def query() -> Any:
    """Query the database; return the connection and what it has opened."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    return connections["default"]


class Used:
    """The connections and threads that calls have used."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.threads: list[threading.Thread] = []

    def query(self) -> int:
        self.connections.append(query())
        self.threads.append(threading.current_thread())
        return 1

    async def all_closed(self) -> None:
        assert self.connections
        await until(lambda: all(connection.connection is None for connection in self.connections))


@pytest.fixture
def used() -> Used:
    return Used()


@asynccontextmanager
async def served(kind: str, settings: Any, middleware: list[str]) -> AsyncIterator[Direct]:
    settings.MIDDLEWARE = middleware
    settings.DEBUG = False
    application = get_asgi_application()
    carrier = Direct(mount(application) if kind == "mount" else application)
    try:
        yield carrier
    finally:
        await carrier.close()
        await endpoint().stop()


VIEWS = {
    "view": DJANGOS,
    "view-synchronous": SYNCHRONOUS,  # all middleware is, then
    "view-synchronous-first": [SYNCHRONOUS[-1], *DJANGOS],  # what follows is asynchronous, and has a response to see
    "view-synchronous-between": [
        DJANGOS[0],
        SYNCHRONOUS[-1],
        DJANGOS[1],
        "django.middleware.common.CommonMiddleware",
    ],
    "mount": DJANGOS,
}
everywhere = pytest.mark.parametrize(
    ("kind", "middleware"), [(name.partition("-")[0], middleware) for name, middleware in VIEWS.items()], ids=VIEWS
)


# -- after the response has begun ---------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("era", ["alone", "session"])
async def test_the_orm_works_after_progress(
    kind: str, middleware: list[str], era: str, used: Used, settings: Any, file_database: Any
) -> None:
    streaming = asyncio.Event()

    @tool
    async def reports(ctx: Context) -> int:
        await ctx.report_progress(0, 1)
        await streaming.wait()
        return await sync_to_async(used.query)()

    @tool
    def reports_plainly(ctx: Context) -> int:
        async_to_sync(ctx.report_progress)(0, 1)
        return used.query()

    async with served(kind, settings, middleware) as carrier:
        for name in ("reports", "reports_plainly"):
            answer = await carrier.send(call(name) if era == "alone" else (await Session.open(carrier)).call(name))
            assert answer.is_stream
            streaming.set()
            assert (await answer.outcome())["result"]["structuredContent"] == {"result": 1}
    await used.all_closed()


@everywhere
async def test_the_orm_works_when_silence_has_made_a_stream_of_the_answer(
    kind: str, middleware: list[str], used: Used, settings: Any, file_database: Any
) -> None:
    settings.MCP_TRANSPORT = {"SSE_AFTER_SECONDS": 0}
    streaming = asyncio.Event()

    @tool
    async def late() -> int:
        await streaming.wait()
        return await sync_to_async(used.query)()

    async with served(kind, settings, middleware) as carrier:
        answer = await carrier.send(call("late"))
        assert answer.is_stream
        streaming.set()
        assert (await answer.outcome())["result"]["structuredContent"] == {"result": 1}
    await used.all_closed()


# -- clients that leave, calls that are cancelled -----------------------------------------------------


@everywhere
async def test_a_client_that_leaves_takes_its_connection_along(
    kind: str, middleware: list[str], used: Used, settings: Any, file_database: Any
) -> None:
    entered = asyncio.Event()

    @tool
    async def endless(ctx: Context) -> int:
        await sync_to_async(used.query)()
        entered.set()
        await asyncio.Event().wait()
        return 1

    async with served(kind, settings, middleware) as carrier:
        for _ in range(3):
            entered.clear()
            visit = Visit(carrier._application, scope_of(call("endless")), (call("endless").body,))
            async with asyncio.timeout(5):
                await entered.wait()
            await visit.end()
    assert len(used.connections) == 3
    await used.all_closed()


@everywhere
async def test_a_session_whose_client_left_ends_its_call_and_with_it_the_connection(
    kind: str, middleware: list[str], used: Used, settings: Any, file_database: Any
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def goes_on(ctx: Context) -> int:
        await sync_to_async(used.query)()
        entered.set()
        await go_on.wait()
        return await sync_to_async(used.query)()

    async with served(kind, settings, middleware) as carrier:
        request = (await Session.open(carrier)).call("goes_on")
        visit = Visit(carrier._application, scope_of(request), (request.body,))
        async with asyncio.timeout(5):
            await entered.wait()
        await visit.end()
        assert used.connections[0].connection is not None, "the call goes on"
        go_on.set()
        await until(lambda: len(used.connections) == 2)
        assert used.connections[0] is used.connections[1], "a call has one connection"
        await used.all_closed()


async def test_a_transaction_that_a_cancelled_call_left_open_ends(used: Used, serve: Any, file_database: Any) -> None:
    def begin() -> None:
        transaction.atomic().__enter__()
        used.query()

    @tool
    async def begins() -> int:
        await sync_to_async(begin)()
        raise RuntimeError("before the end of the transaction")

    @tool
    async def looks() -> bool:
        return await sync_to_async(lambda: query().in_atomic_block)()

    served = serve()
    await result_of(served, "tools/call", {"name": "begins", "arguments": {}})
    await until(lambda: used.connections[0].closed_in_transaction)
    assert await returned(served, "looks") is False


# -- one thread a call --------------------------------------------------------------------------------


async def test_synchronous_code_of_one_call_shares_a_thread_and_that_of_two_does_not(
    used: Used, serve: Any, file_database: Any
) -> None:
    meeting = asyncio.Barrier(2)

    @tool
    async def twice() -> list[int]:
        first = await sync_to_async(threading.get_ident)()
        await meeting.wait()
        second = await sync_to_async(threading.get_ident)()
        return [first, second]

    served = serve()
    (one, same), (other, also) = await asyncio.gather(returned(served, "twice"), returned(served, "twice"))
    assert one == same != other == also


def declare_tools(used: Used) -> None:
    def visible(principal: Principal) -> bool:
        return bool(used.query())

    async def visible_later(principal: Principal) -> bool:
        return bool(await sync_to_async(used.query)())

    @tool(visible=visible)
    def plain() -> int:
        return used.query()

    @tool(visible=visible_later)
    async def later() -> int:
        return await sync_to_async(used.query)()

    @tool
    async def fails() -> int:
        await sync_to_async(used.query)()
        raise RuntimeError("later")


def declare_others(used: Used) -> None:
    @resource("x://plain")
    def read() -> str:
        return str(used.query())

    @resource("x://later/{a}")
    async def read_later(a: str) -> str:
        return str(await sync_to_async(used.query)())

    @prompt
    def ask() -> str:
        return str(used.query())

    @prompt
    async def ask_later() -> str:
        return str(await sync_to_async(used.query)())

    @completion
    async def complete(ref: Any, argument: Any, context: Any) -> None:
        await sync_to_async(used.query)()


async def test_every_kind_of_function_leaves_its_connection_closed(
    used: Used, serve: Any, file_database: Any, settings: Any
) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["tests.django.test_threads.Querying", None]}

    declare_tools(used)
    declare_others(used)
    Querying.used = used
    served = serve()
    before = threading.active_count()
    for name in ("plain", "later", "fails"):
        await result_of(served, "tools/call", {"name": name, "arguments": {}})
    await result_of(served, "tools/list")
    for uri in ("x://plain", "x://later/1"):
        await result_of(served, "resources/read", {"uri": uri})
    for name in ("ask", "ask_later"):
        await result_of(served, "prompts/get", {"name": name})
    reference = {"ref": {"type": "ref/prompt", "name": "ask"}, "argument": {"name": "a", "value": "b"}}
    await result_of(served, "completion/complete", reference)
    assert len(used.connections) >= 20
    await used.all_closed()
    await until(lambda: threading.active_count() <= before + 2)


class Querying:
    """An authenticator that queries, and knows nobody."""

    used: Used
    scheme = "Bearer"
    authorization_servers = ()

    def __new__(cls) -> Any:
        from mcp_transport.auth.authenticator import Authenticator

        class Built(Authenticator):
            async def authenticate(self, request: Any) -> None:
                await in_thread(cls.used.query)
                await sync_to_async(cls.used.query)()

        return Built()


async def test_a_task_that_outlives_its_call_may_use_the_orm(used: Used, serve: Any, file_database: Any) -> None:
    go_on, tasks = asyncio.Event(), []

    async def afterwards() -> int:
        await go_on.wait()
        return await sync_to_async(used.query)()

    @tool
    async def begins() -> int:
        tasks.append(asyncio.ensure_future(afterwards()))
        return 1

    await returned(serve(), "begins")
    go_on.set()
    async with asyncio.timeout(5):
        assert await tasks[0] == 1
    await used.all_closed()


async def test_a_lost_connection_costs_one_call(used: Used, serve: Any, file_database: Any) -> None:
    @tool
    async def counts() -> int:
        return await sync_to_async(used.query)()

    @tool
    async def breaks() -> int:
        def cut() -> None:
            query().connection.close()  # as the database's end does

        await sync_to_async(cut)()
        return await sync_to_async(used.query)()

    served = serve()
    failed = await result_of(served, "tools/call", {"name": "breaks", "arguments": {}})
    assert failed["isError"]
    for _ in range(3):
        assert await returned(served, "counts") == 1


async def test_nothing_is_paid_where_no_synchronous_code_runs(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def borrow() -> Any:
        raise AssertionError("a thread was borrowed")

    monkeypatch.setattr(threads._threads, "borrow", borrow)

    @tool
    async def adds(a: int, b: int) -> int:
        return a + b

    served = serve()
    assert await returned(served, "adds", {"a": 1, "b": 2}) == 3
    await (await opened(served)).request("ping")


# -- what middleware has opened -----------------------------------------------------------------------


async def test_what_middleware_has_opened_is_closed_before_the_call(settings: Any, file_database: Any) -> None:
    at_call: list[Any] = []

    @tool
    async def looks(ctx: Context) -> int:
        at_call.append(ctx.request.opened.connection)
        return 1

    async with served("view", settings, SYNCHRONOUS) as carrier:
        answer = await carrier.send(call("looks"))
        assert (await answer.outcome())["result"]["structuredContent"] == {"result": 1}
    assert at_call == [None]


@pytest.mark.parametrize("middleware", [DJANGOS, SYNCHRONOUS], ids=["plain", "synchronous"])
async def test_an_open_stream_pins_no_thread(middleware: list[str], settings: Any, file_database: Any) -> None:
    async with served("view", settings, middleware) as carrier:
        session = await Session.open(carrier)
        before = threading.active_count()
        answer = await carrier.send(session.get())
        assert answer.is_stream
        await answer.frame()
        await until(lambda: threading.active_count() <= before)


# -- tests, WSGI --------------------------------------------------------------------------------------


async def test_shared_thread_leaves_calls_where_their_caller_is(serve: Any) -> None:
    @tool
    def where() -> int:
        return threading.get_ident()

    @tool
    async def where_later() -> int:
        return await sync_to_async(threading.get_ident)()

    served = serve()
    own = await sync_to_async(threading.get_ident)()
    with shared_thread():
        assert [await returned(served, name) for name in ("where", "where_later")] == [own, own]
    assert own not in [await returned(served, name) for name in ("where", "where_later")]


def test_under_wsgi_a_tool_runs_in_the_thread_of_its_request() -> None:
    @tool
    def where() -> int:
        return threading.get_ident()

    @tool
    async def where_later() -> int:
        return await sync_to_async(threading.get_ident)()

    for name in ("where", "where_later"):
        request = call(name).setting("Accept", "application/json")
        headers = {key.lower(): value for key, value in request.without("Host").headers}
        response = Client().post("/mcp", request.body, content_type="application/json", headers=headers)
        assert json.loads(response.content)["result"]["structuredContent"] == {"result": threading.get_ident()}


# -- the seams of asgiref -----------------------------------------------------------------------------


async def test_the_context_of_calls_is_asgirefs(serve: Any) -> None:
    """`CallThread.enter` sets by hand what `ThreadSensitiveContext.__aenter__` sets."""
    seen: list[Any] = []

    @tool
    async def looks() -> int:
        seen.append(SyncToAsync.thread_sensitive_context.get())
        return 1

    await returned(serve(), "looks")
    assert seen == [threads._context]
    assert SyncToAsync.context_to_thread_executor[threads._context] is not None
    assert threads._context._exited is False


async def test_a_synchronous_function_that_its_caller_has_left_holds_memory_until_it_returns(serve: Any) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @tool
    def holds(value: str) -> str:
        entered.set()
        go_on.wait(5)
        return "late"

    served = serve()
    call = asyncio.ensure_future(send_sessionless(served, "tools/call", large_call("holds")))
    try:
        await until(entered.is_set)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        await until(lambda: not served.nodes[0].running)
        await settle()
        assert served.budget.held > 10_000, "the thread has the argument"
    finally:
        go_on.set()
    await until(lambda: not served.budget.held)


def large_call(name: str) -> dict[str, Any]:
    """Return the parameters of a call whose memory counts."""
    return {"name": name, "arguments": {"value": "x" * 10_000}}


async def test_connection_that_cannot_be_closed_is_nobody_elses(db: None, serve: Any) -> None:
    @tool
    def dirty() -> str:
        transaction.atomic().__enter__()

        def broken() -> None:
            raise RuntimeError("the server is gone")

        connections["default"].close = broken  # type: ignore[method-assign]
        return "ok"

    @tool
    def is_in_transaction() -> bool:
        return connections["default"].in_atomic_block

    endpoint = serve()
    for _ in range(3):
        assert await returned(endpoint, "dirty") == "ok"
        assert await returned(endpoint, "is_in_transaction") is False


def test_connection_of_middleware_that_cannot_be_closed_costs_nobody_the_answer(
    db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the server is gone")

    connection = connections["default"]
    with monkeypatch.context() as patch:
        patch.setattr(connection, "close", broken)
        patch.setattr(connection, "in_atomic_block", False)  # that of the test
        release_connections()
    assert "could not be closed" in caplog.text
