"""CALL_CONTEXT: the project's context manager around each call, in the thread of its synchronous code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils import timezone, translation

from mcp_transport import Context, Principal, bootstrap, tool
from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.threads import in_thread
from tests.support.calls import error_of, opened, result_of, returned
from tests.support.client import until
from tests.support.http.client import text
from tests.support.http.inprocess import Direct, Synchronous
from tests.support.http.messages import call
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

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


class Failing:
    """A context manager that cannot be entered."""

    def __init__(self, request: Any, principal: Any) -> None: ...

    def __enter__(self) -> None:
        raise LookupError("no tenant of this name")

    def __exit__(self, *error: Any) -> None: ...


@contextmanager
def failing_at_the_end(request: HttpRequest | None, principal: Principal | None) -> Iterator[None]:
    yield
    raise LookupError("cannot leave")


def needs_the_user(request: HttpRequest | None, principal: Principal | None) -> Any:
    return translation.override("de" if principal is not None and principal.name == "ann" else "fr")


def no_manager(request: Any, principal: Any) -> None: ...


async def a_coroutine(request: Any, principal: Any) -> None: ...


class Authenticating(Authenticator):
    """An authenticator that notes the tenant it runs for."""

    async def authenticate(self, request: Any) -> None:
        await in_thread(lambda: observed.append(local.tenant))


observed: list[str] = []
"""The tenants for which somebody was authenticated, or judged."""


@pytest.fixture(autouse=True)
def fresh() -> None:
    entered.clear()
    observed.clear()


@pytest.fixture
def within(settings: Any, serve: Serve) -> Callable[..., Endpoint]:
    """Serve with a context manager of this module around each call."""

    def build(name: str, **others: Any) -> Endpoint:
        settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{__name__}.{name}", **others}
        return serve()

    return build


def tenants() -> list[str]:
    """Return the tenant, in the way of threads and in the way of tasks."""
    return [getattr(local, "tenant", "missing"), tenant.get()]


async def tenants_later() -> list[str]:
    return [await sync_to_async(lambda: getattr(local, "tenant", "missing"))(), tenant.get()]


@pytest.fixture
def tools(declarations: Any) -> None:
    tool(name="plain")(tenants)
    tool(name="later")(tenants_later)


Within = Callable[..., Endpoint]
PLAIN: dict[str, Any] = {"name": "plain", "arguments": {}}


@pytest.mark.usefixtures("tools")
async def test_functions_of_both_kinds_run_within_it_for_each_request_anew(within: Within) -> None:
    served = within("context")
    for name in ("plain", "later"):
        for tenant_name in ("one", "none", "two", "none"):
            assert await returned(served, name, headers={"x-tenant": tenant_name}) == [tenant_name] * 2
    assert [what for what, _, _ in entered][:4] == ["one", "left", "none", "left"]
    answer = await (await opened(served)).request("tools/call", PLAIN, headers={"x-tenant": "two"})
    assert answer.json["result"]["structuredContent"] == {"result": ["two", "two"]}


async def test_calls_side_by_side_do_not_see_each_others(within: Within) -> None:
    meeting = asyncio.Barrier(20)

    @tool
    async def meet() -> list[str]:
        await meeting.wait()
        return await tenants_later()

    served = within("context")
    names = [f"tenant-{number}" for number in range(20)]
    result = await asyncio.gather(*(returned(served, "meet", headers={"x-tenant": name}) for name in names))
    assert result == [[name, name] for name in names]
    assert sum(what == "left" for what, _, _ in entered) == 20


async def test_authentication_and_permissions_run_within_it(within: Within) -> None:
    def judge(principal: Principal) -> bool:
        observed.append(local.tenant)
        return True

    tool(name="guarded", visible=judge)(lambda: 1)
    served = within("context", AUTHENTICATORS=[f"{__name__}.Authenticating", None])
    await result_of(served, "tools/call", {"name": "guarded", "arguments": {}}, headers={"x-tenant": "one"})
    await result_of(served, "tools/list", headers={"x-tenant": "one"})
    assert observed == ["one"] * 4
    assert next(principal for what, _, principal in entered if what == "one") is None


@pytest.mark.usefixtures("tools")
async def test_an_asynchronous_one_is_entered_in_the_task_of_the_call(within: Within) -> None:
    assert await returned(within("asynchronous"), "later", headers={"x-tenant": "one"}) == ["missing", "one"]


async def test_it_sees_the_principal(within: Within) -> None:
    @tool
    def language() -> str:
        return translation.get_language()

    served = within("needs_the_user")
    assert await returned(served, "language", user=User(pk=1, username="ann")) == "de"
    assert await returned(served, "language") == "fr"


# -- managers that fail ------------------------------------------------------------------------------


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Failing", "the context of tools/call failed"),
        ("no_manager", "must return a context manager"),
        ("a_coroutine", "must return a context manager"),
    ],
)
async def test_one_that_fails_is_an_error_of_its_call_alone(
    name: str, words: str, within: Within, caplog: pytest.LogCaptureFixture
) -> None:
    error = await error_of(within(name), "tools/call", PLAIN)
    assert error == {"code": -32603, "message": "Internal server error"}
    assert words in caplog.text


@pytest.mark.usefixtures("tools")
async def test_one_that_fails_at_the_end_is_logged(within: Within, caplog: pytest.LogCaptureFixture) -> None:
    assert await returned(within("failing_at_the_end"), "plain") == ["missing", "none"]
    assert "CALL_CONTEXT" in caplog.text


@pytest.mark.parametrize("path", ["no.such.module", f"{__name__}.nothing", f"{__name__}.PLAIN"])
def test_one_that_cannot_be_used_is_refused(path: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": path}
    with pytest.raises(ImproperlyConfigured, match="CALL_CONTEXT"):
        bootstrap.endpoint()


# -- callers that leave ------------------------------------------------------------------------------


async def test_a_cancelled_call_leaves_it(within: Within) -> None:
    running = asyncio.Event()

    @tool
    async def endless() -> None:
        running.set()
        await asyncio.Event().wait()

    served = within("context")
    task = asyncio.ensure_future(result_of(served, "tools/call", {"name": "endless", "arguments": {}}))
    async with asyncio.timeout(60):
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


@pytest.mark.usefixtures("tools")
async def test_one_that_is_entered_after_its_caller_has_left_is_left(within: Within) -> None:
    Slow.left = []
    task = asyncio.ensure_future(result_of(within("Slow"), "tools/call", PLAIN))
    await asyncio.to_thread(Slow.entering.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    Slow.go_on.set()
    await until(lambda: Slow.left == ["entered", "left"])


# -- through the view ---------------------------------------------------------------------------------


class Activating:
    """What a project's middleware sets up: something on the request, a language, a time zone."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.tenant = "shop"
        with translation.override("de"), timezone.override("Europe/Vienna"):
            return self.get_response(request)


@pytest.mark.parametrize("name", ["plain", "later"])
async def test_what_middleware_has_set_up_reaches_the_tool(name: str, settings: Any) -> None:
    settings.MIDDLEWARE = [f"{__name__}.Activating"]

    def plain(ctx: Context) -> str:
        named = getattr(ctx.request, "tenant", None)
        return f"{named} {translation.get_language()} {timezone.get_current_timezone_name()}"

    async def later(ctx: Context) -> str:
        return f"{plain(ctx)} {await sync_to_async(translation.get_language)()}"

    tool({"plain": plain, "later": later}[name])
    expected = "shop de Europe/Vienna" + (" de" if name == "later" else "")
    for carrier in (Direct(get_asgi_application()), Synchronous()):
        assert await text(carrier, call(name).setting("Accept", "application/json")) == expected
        await carrier.close()
    await bootstrap.endpoint().pool.stop()
