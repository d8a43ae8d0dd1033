"""Database connections of a call: one in each, also when its answer has begun, and none is left open behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport import Context, completion, prompt, resource, threads, tool
from mcp_transport.asgi import mount
from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.bootstrap import endpoint
from mcp_transport.threads import in_thread
from tests.django.databases import Used
from tests.support.calls import result_of, returned
from tests.support.client import until
from tests.support.http.client import open_session
from tests.support.http.inprocess import Application, Direct, Visit, scope_of
from tests.support.http.messages import call
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

DJANGOS = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
SYNCHRONOUS = [*DJANGOS, f"{__name__}.Synchronous"]


class Synchronous:
    """A middleware as in Django's documentation; it queries the database."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        request.opened = connections["default"]
        return self.get_response(request)


def application_of(kind: str, settings: Any, middleware: list[str]) -> Application:
    settings.MIDDLEWARE = middleware
    settings.DEBUG = False
    application = get_asgi_application()
    return mount(application) if kind == "mount" else application


@asynccontextmanager
async def served(application: Application) -> AsyncIterator[Direct]:
    carrier = Direct(application)
    try:
        yield carrier
    finally:
        await carrier.close()
        await endpoint().pool.stop()


VIEWS = {
    "view": DJANGOS,
    "view-synchronous": SYNCHRONOUS,  # all middleware is, then
    "view-synchronous-first": [SYNCHRONOUS[-1], *DJANGOS],  # what follows is asynchronous, and has a response to see
    "view-synchronous-between": [
        *(DJANGOS[0], SYNCHRONOUS[-1], DJANGOS[1]),
        "django.middleware.common.CommonMiddleware",
    ],
    "mount": DJANGOS,
}


@pytest.fixture(params=VIEWS)
def application(request: pytest.FixtureRequest, settings: Any, file_database: Any) -> Application:
    """The project behind each order of middleware, and at the mount."""
    name: str = request.param
    return application_of(name.partition("-")[0], settings, VIEWS[name])


# -- after the response has begun ---------------------------------------------------------------------


@pytest.mark.parametrize("era", ["alone", "session"])
async def test_the_orm_works_after_progress(application: Application, era: str, used: Used) -> None:
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

    async with served(application) as carrier:
        for name in ("reports", "reports_plainly"):
            answer = await carrier.send(call(name) if era == "alone" else (await open_session(carrier)).call(name))
            assert answer.is_stream
            streaming.set()
            assert (await answer.outcome())["result"]["structuredContent"] == {"result": 1}
    await used.all_closed()


async def test_the_orm_works_when_silence_has_made_a_stream_of_the_answer(
    application: Application, used: Used, settings: Any
) -> None:
    settings.MCP_TRANSPORT = {"SSE_AFTER_SECONDS": 0}
    streaming = asyncio.Event()

    @tool
    async def late() -> int:
        await streaming.wait()
        return await sync_to_async(used.query)()

    async with served(application) as carrier:
        answer = await carrier.send(call("late"))
        assert answer.is_stream
        streaming.set()
        assert (await answer.outcome())["result"]["structuredContent"] == {"result": 1}
    await used.all_closed()


# -- clients that leave, calls that are cancelled -----------------------------------------------------


@pytest.mark.parametrize("era", ["alone", "session"])
async def test_a_client_that_leaves_takes_its_connection_along_when_the_call_ends(
    application: Application, era: str, used: Used
) -> None:
    """A call that stands alone ends with its client; that of a session goes on."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def goes_on() -> int:
        await sync_to_async(used.query)()
        entered.set()
        await go_on.wait()
        return await sync_to_async(used.query)()

    async with served(application) as carrier:
        request = call("goes_on") if era == "alone" else (await open_session(carrier)).call("goes_on")
        visit = Visit(application, scope_of(request), (request.body,))
        async with asyncio.timeout(60):
            await entered.wait()
        await visit.end()
        if era == "session":
            assert used.connections[0].connection is not None, "the call goes on"
            go_on.set()
            await until(lambda: len(used.connections) == 2)
            assert used.connections[0] is used.connections[1], "a call has one connection"
        await used.all_closed()


# -- every kind of function ----------------------------------------------------------------------------


def declare_everything(used: Used) -> None:
    """Declare a plain and an asynchronous function of each kind, which query."""
    later = sync_to_async(used.query)

    async def fails() -> None:
        await later()
        raise RuntimeError("later")

    def refuses() -> None:
        used.query()
        raise ToolError("after the query")

    tool(name="plain", visible=lambda principal: bool(used.query()))(used.query)
    tool(name="later", visible=sync_to_async(lambda principal: bool(used.query())))(later)
    tool(fails)
    tool(refuses)
    resource("x://plain", name="plain")(lambda: str(used.query()))
    resource("x://later/{a}", name="later")(sync_to_async(lambda a: str(used.query())))
    prompt(name="ask")(lambda: str(used.query()))
    prompt(name="ask_later")(sync_to_async(lambda: str(used.query())))
    completion(sync_to_async(lambda ref, argument, context: used.query() and None))


async def test_every_kind_of_function_leaves_its_connection_closed(
    used: Used, serve: Serve, file_database: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads._threads, "idle_seconds", 0.01)
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": [f"{__name__}.Querying", None]}
    declare_everything(used)
    Querying.used = used
    served = serve()
    for name in ("plain", "later", "fails", "refuses"):
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
    for thread in used.threads:  # which was given back, or else it would not end
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


class Querying(Authenticator):
    """An authenticator that queries, and knows nobody."""

    used: Used

    async def authenticate(self, request: Any) -> None:
        await in_thread(self.used.query)
        await sync_to_async(self.used.query)()


async def test_a_task_that_outlives_its_call_may_use_the_orm(used: Used, serve: Serve, file_database: Any) -> None:
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
    async with asyncio.timeout(60):
        assert await tasks[0] == 1
    await used.all_closed()


# -- what middleware has opened -----------------------------------------------------------------------


async def test_what_middleware_has_opened_is_closed_before_the_call(settings: Any, file_database: Any) -> None:
    at_call: list[Any] = []

    @tool
    async def looks(ctx: Context) -> int:
        request: Any = ctx.request
        at_call.append(request.opened.connection)
        return 1

    async with served(application_of("view", settings, SYNCHRONOUS)) as carrier:
        answer = await carrier.send(call("looks"))
        assert (await answer.outcome())["result"]["structuredContent"] == {"result": 1}
    assert at_call == [None]


@pytest.mark.parametrize("middleware", [DJANGOS, SYNCHRONOUS], ids=["plain", "synchronous"])
async def test_an_open_stream_pins_no_thread(middleware: list[str], settings: Any, file_database: Any) -> None:
    async with served(application_of("view", settings, middleware)) as carrier:
        session = await open_session(carrier)
        before = threading.active_count()
        answer = await carrier.send(session.get())
        assert answer.is_stream
        await answer.frame()
        await until(lambda: threading.active_count() <= before)
