"""CALL_CONTEXT: the project's context manager around each call, in the thread of its synchronous code."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.utils import timezone, translation

from mcp_transport import Context, Principal, bootstrap, tool
from tests.django.test_request_user import HEADERS, named
from tests.support.calls import error_of, opened, result_of, returned
from tests.support.client import ENVELOPE, until

pytestmark = pytest.mark.usefixtures("declarations")

HERE = "tests.django.test_call_context"
local = threading.local()
tenant: ContextVar[str] = ContextVar("tenant", default="none")
entered: list[tuple[str, HttpRequest | None, Principal | None]] = []


@contextmanager
def context(request: HttpRequest | None, principal: Principal | None) -> Iterator[None]:
    """Say which tenant a request is for, in the way of threads and in the way of tasks."""
    name = request.headers.get("X-Tenant", "none") if request is not None else "lost"
    entered.append((name, request, principal))
    local.tenant = name
    token = tenant.set(name)
    try:
        yield
    finally:
        tenant.reset(token)
        del local.tenant
        entered.append(("left", request, principal))


@asynccontextmanager
async def asynchronous(request: HttpRequest | None, principal: Principal | None) -> AsyncIterator[None]:
    token = tenant.set(request.headers.get("X-Tenant", "none") if request is not None else "lost")
    yield
    tenant.reset(token)


@contextmanager
def failing(request: HttpRequest | None, principal: Principal | None) -> Iterator[None]:
    raise LookupError("no tenant of this name")
    yield


@contextmanager
def failing_at_the_end(request: HttpRequest | None, principal: Principal | None) -> Iterator[None]:
    yield
    raise LookupError("cannot leave")


def needs_the_user(request: HttpRequest | None, principal: Principal | None) -> Any:
    return translation.override("de" if principal is not None and principal.name == "ann" else "fr")


@pytest.fixture(autouse=True)
def fresh() -> None:
    entered.clear()


@pytest.fixture
def tools() -> None:
    @tool
    def plain() -> list[str]:
        return [getattr(local, "tenant", "missing"), tenant.get()]

    @tool
    async def later() -> list[str]:
        here = tenant.get()
        return [await sync_to_async(lambda: getattr(local, "tenant", "missing"))(), here]

    @tool
    def guarded() -> int:
        return 1


@pytest.mark.parametrize("name", ["plain", "later"])
async def test_functions_of_both_kinds_run_within_it(name: str, settings: Any, serve: Any, tools: None) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.context"}
    assert await returned(serve(), name, headers={"x-tenant": "one"}) == ["one", "one"]
    assert [what for what, _, _ in entered] == ["one", "left"]


async def test_calls_side_by_side_do_not_see_each_others(settings: Any, serve: Any) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.context"}
    meeting = asyncio.Barrier(20)

    @tool
    async def meet() -> list[str]:
        await meeting.wait()
        return [await sync_to_async(lambda: getattr(local, "tenant", "missing"))(), tenant.get()]

    served = serve()
    names = [f"tenant-{number}" for number in range(20)]
    found = await asyncio.gather(*(returned(served, "meet", headers={"x-tenant": name}) for name in names))
    assert found == [[name, name] for name in names]
    assert sum(what == "left" for what, _, _ in entered) == 20


async def test_a_call_without_a_tenant_never_meets_that_of_an_earlier_one(
    settings: Any, serve: Any, tools: None
) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.context"}
    served = serve()
    for name in ("one", "none", "two", "none"):
        assert await returned(served, "plain", headers={"x-tenant": name}) == [name, name]


async def test_authentication_and_permissions_run_within_it(settings: Any, serve: Any) -> None:
    seen: list[str] = []

    def visible(principal: Principal) -> bool:
        seen.append(local.tenant)
        return True

    @tool(visible=visible)
    def guarded() -> int:
        return 1

    Authenticating.seen = seen
    settings.MCP_TRANSPORT = {
        "CALL_CONTEXT": f"{HERE}.context",
        "AUTHENTICATORS": [f"{HERE}.Authenticating", None],
    }
    served = serve()
    assert await returned(served, "guarded", headers={"x-tenant": "one"}) == 1
    await result_of(served, "tools/list", headers={"x-tenant": "one"})
    assert set(seen) == {"one"} and len(seen) == 4
    assert next(principal for what, _, principal in entered if what == "one") is None


class Authenticating:
    seen: list[str]

    def __new__(cls) -> Any:
        from mcp_transport.auth.authenticator import Authenticator
        from mcp_transport.threads import in_thread

        class Built(Authenticator):
            async def authenticate(self, request: Any) -> None:
                await in_thread(lambda: cls.seen.append(local.tenant))

        return Built()


async def test_an_asynchronous_one_is_entered_in_the_task_of_the_call(settings: Any, serve: Any, tools: None) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.asynchronous"}
    assert await returned(serve(), "later", headers={"x-tenant": "one"}) == ["missing", "one"]


async def test_it_sees_the_principal(settings: Any, serve: Any) -> None:
    @tool
    def language() -> str:
        return translation.get_language()

    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.needs_the_user"}
    served = serve()
    assert await returned(served, "language", user=User(pk=1, username="ann")) == "de"
    assert await returned(served, "language") == "fr"


async def test_a_sessions_calls_and_its_notifications_run_within_it(settings: Any, serve: Any, tools: None) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.context"}
    client = await opened(serve())
    answer = await client.request("tools/call", {"name": "plain", "arguments": {}}, headers={"x-tenant": "two"})
    assert answer.json["result"]["structuredContent"] == {"result": ["two", "two"]}


async def test_one_that_fails_is_an_error_of_its_call_alone(
    settings: Any, serve: Any, tools: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.failing"}
    error = await error_of(serve(), "tools/call", {"name": "plain", "arguments": {}})
    assert error == {"code": -32603, "message": "Internal server error"}
    assert "the context of tools/call failed" in caplog.text


async def test_one_that_fails_at_the_end_is_logged(
    settings: Any, serve: Any, tools: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.failing_at_the_end"}
    with caplog.at_level(logging.ERROR):
        assert await returned(serve(), "plain") == ["missing", "none"]
    assert "CALL_CONTEXT" in caplog.text


async def test_a_cancelled_call_leaves_it(settings: Any, serve: Any) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.context"}
    running = asyncio.Event()

    @tool
    async def endless() -> None:
        running.set()
        await asyncio.Event().wait()

    served = serve()
    task = asyncio.ensure_future(result_of(served, "tools/call", {"name": "endless", "arguments": {}}))
    async with asyncio.timeout(5):
        await running.wait()
    task.cancel()
    await until(lambda: "left" in [what for what, _, _ in entered])


class Slow:
    """A context manager that takes long to enter."""

    entering, go_on = threading.Event(), threading.Event()
    left: list[str]

    def __init__(self, request: Any, principal: Any) -> None: ...

    def __enter__(self) -> None:
        self.entering.set()
        assert self.go_on.wait(5)
        self.left.append("entered")

    def __exit__(self, *error: Any) -> None:
        self.left.append("left")


async def test_one_that_is_entered_after_its_caller_has_left_is_left(settings: Any, serve: Any, tools: None) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.Slow"}
    Slow.left = []
    task = asyncio.ensure_future(result_of(serve(), "tools/call", {"name": "plain", "arguments": {}}))
    await asyncio.to_thread(Slow.entering.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    Slow.go_on.set()
    await until(lambda: Slow.left == ["entered", "left"])


def no_manager(request: Any, principal: Any) -> None: ...


async def a_coroutine(request: Any, principal: Any) -> None: ...


@pytest.mark.parametrize("path", ["no_manager", "a_coroutine"])
async def test_what_is_no_context_manager_is_named(
    path: str, settings: Any, serve: Any, tools: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{HERE}.{path}"}
    await error_of(serve(), "tools/call", {"name": "plain", "arguments": {}})
    assert "must return a context manager" in caplog.text


@pytest.mark.parametrize("path", ["no.such.module", f"{HERE}.nothing", f"{HERE}.HERE"])
def test_one_that_cannot_be_used_is_refused(path: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": path}
    with pytest.raises(ImproperlyConfigured, match="CALL_CONTEXT"):
        bootstrap.endpoint()


# -- through the view ---------------------------------------------------------------------------------


class Activating:
    """What a project's middleware sets up: something on the request, a language, a time zone."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.tenant = "shop"
        with translation.override("de"), timezone.override("Europe/Vienna"):
            return self.get_response(request)


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": {}, "_meta": ENVELOPE}}


@pytest.mark.parametrize("name", ["plain", "later"])
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_what_middleware_has_set_up_reaches_the_tool(kind: str, name: str, settings: Any) -> None:
    settings.MIDDLEWARE = [f"{HERE}.Activating"]

    def describe(ctx: Context) -> str:
        return f"{ctx.request.tenant} {translation.get_language()} {timezone.get_current_timezone_name()}"

    @tool
    def plain(ctx: Context) -> str:
        return describe(ctx)

    @tool
    async def later(ctx: Context) -> str:
        return f"{describe(ctx)} {await sync_to_async(translation.get_language)()}"

    message = {**CALL, "params": {**CALL["params"], "name": name}}
    headers = {**HEADERS, "mcp-name": name}
    if kind == "wsgi":
        response = Client().post("/mcp", message, content_type="application/json", headers=headers)
    else:

        async def post() -> Any:
            found = await AsyncClient().post("/mcp", message, content_type="application/json", headers=headers)
            await bootstrap.endpoint().stop()
            return found

        response = asyncio.run(post())
    assert named(response) == "shop de Europe/Vienna" + (" de" if name == "later" else "")
