"""MCPClient in grown projects: middleware, users and tokens, where the endpoint is, what is left behind.

In test cases of Django: `test_mcp_client_testcase`.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.signals import connection_created
from django.http import HttpResponse
from mcp.server.mcpserver.exceptions import ToolError
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token

from mcp_transport import tool
from mcp_transport.contrib.tokens.models import PersonalToken
from mcp_transport.test import MCPClient
from tests.django.tested_tools import Crash, both_eras, declare

pytestmark = pytest.mark.slow

HERE = __name__
GROWN = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    f"{HERE}.Plain",
]
ORM = ["groups", "count_groups", "report_then_count", "report_from_a_thread", "close_stream"]


class Plain:
    """Synchronous middleware, as Django's documentation writes it."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self.lock = threading.Lock()  # which cannot be copied

    def __call__(self, request: Any) -> Any:
        request.groups = Group.objects.count()
        response = self.get_response(request)
        response["X-Plain"] = str(request.groups)
        return response


class Closed(Plain):
    """Middleware that answers by itself."""

    def __call__(self, request: Any) -> Any:
        return HttpResponse("We are closed.", status=403)


class Broken(Plain):
    """Middleware that breaks."""

    def __call__(self, request: Any) -> Any:
        raise Crash("in middleware")


class Keys(TokenAuthentication):  # type: ignore[misc]  # which has no types
    """Tokens of DRF as bearer tokens."""

    keyword = "Bearer"


@pytest.fixture(autouse=True)
def tools(declarations: Any) -> None:
    declare()


# -- middleware ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
@both_eras
@pytest.mark.parametrize("middleware", [[], [f"{HERE}.Plain"] * 2, GROWN], ids=len)
def test_calls_pass_the_middleware(session: bool, middleware: list[str], settings: Any) -> None:
    settings.MIDDLEWARE = middleware
    Group.objects.create(name="a")
    with MCPClient(session=session) as client:
        for name in ORM:
            result = client.call(name).assert_ok()
            assert result.headers.get("x-plain") == ("1" if middleware else None)
        for name in ("crash", "crash_late"):
            with pytest.raises(Crash):
                client.call(name)


@pytest.mark.django_db(transaction=True)
@both_eras
@pytest.mark.parametrize("middleware", [[], [f"{HERE}.Plain"] * 2, GROWN], ids=len)
async def test_calls_of_asynchronous_tests_pass_the_middleware(
    session: bool, middleware: list[str], settings: Any
) -> None:
    settings.MIDDLEWARE = middleware
    await Group.objects.acreate(name="a")
    async with MCPClient(session=session, elicit={"sure": True}) as client:
        for name in ORM:
            (await client.acall(name)).assert_ok()
        assert (await client.acall("confirm")).result == "accept True"
        with pytest.raises(Crash):
            await client.acall("crash_late")


@pytest.mark.django_db
@both_eras
def test_middleware_that_answers_by_itself_or_breaks_fails_the_test(session: bool, settings: Any) -> None:
    settings.MIDDLEWARE = [f"{HERE}.Closed"]
    with pytest.raises(AssertionError, match=r"(?s)HTTP 403 is not an MCP response.*We are closed"):
        MCPClient(session=session).call("add", a=1, b=1)
    settings.MIDDLEWARE = [f"{HERE}.Broken"]
    with pytest.raises(Crash, match="in middleware"):
        MCPClient(session=session).call("add", a=1, b=1)


@pytest.mark.django_db
@both_eras
def test_project_that_redirects_to_https_is_reached(session: bool, settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", *settings.MIDDLEWARE]
    settings.SECURE_SSL_REDIRECT = True
    with MCPClient(session=session) as client:
        assert client.call("add", a=1, b=1).result == 2


@pytest.mark.django_db
@both_eras
@pytest.mark.parametrize("middleware", [[], [f"{HERE}.Plain"]], ids=len)
def test_tool_that_refuses_rolls_back_where_requests_are_atomic(
    session: bool, middleware: list[str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tool
    def write_and_refuse() -> int:
        """Write, then refuse."""
        Group.objects.create(name="b")
        raise ToolError("no")

    settings.MIDDLEWARE = middleware
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with MCPClient(session=session) as client:
        client.call("make_group", name="a").assert_ok()
        client.call("write_and_refuse").assert_error("no")
        assert client.call("groups").result == ["a"]


# -- who calls -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@both_eras
def test_user_is_logged_in_through_the_middleware(session: bool, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.RemoteUserBackend",
        "django.contrib.auth.backends.ModelBackend",
    ]
    with (
        MCPClient(user=User.objects.create_user("ann"), session=session) as ann,
        MCPClient(user=User.objects.create_user("bob"), session=session) as bob,
        MCPClient(session=session) as nobody,
    ):
        assert [client.call("whoami").result for client in (ann, bob, nobody, ann)] == ["ann", "bob", "-", "ann"]


@pytest.mark.django_db
@both_eras
@pytest.mark.parametrize("in_sessions", [False, True])
def test_user_passes_the_check_of_the_session_authenticator(session: bool, in_sessions: bool, settings: Any) -> None:
    settings.CSRF_USE_SESSIONS = in_sessions
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["session"]}
    settings.MIDDLEWARE = []
    with MCPClient(user=User.objects.create_user("ann"), session=session) as client:
        assert client.call("whoami").result == "ann"


@pytest.mark.django_db(transaction=True)
@both_eras
async def test_user_of_an_asynchronous_test_is_logged_in(session: bool) -> None:
    ann = await User.objects.acreate_user("ann")
    async with MCPClient(user=ann, session=session) as client:
        results = await asyncio.gather(*(client.acall("whoami") for _ in range(3)))
        assert [result.result for result in results] == ["ann"] * 3


@pytest.mark.django_db
@both_eras
def test_user_needs_sessions_and_authentication_middleware(session: bool, settings: Any) -> None:
    ann = User.objects.create_user("ann")
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    with pytest.raises(ImproperlyConfigured, match="AuthenticationMiddleware"):
        MCPClient(user=ann, session=session).call("whoami")
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django.contrib.sessions"]
    with pytest.raises(ImproperlyConfigured, match=r'require "django.contrib.sessions" in INSTALLED_APPS'):
        MCPClient(user=ann)


@pytest.mark.django_db
@both_eras
def test_tokens_are_sent_as_credentials(session: bool, settings: Any) -> None:
    ann = User.objects.create_user("ann")
    settings.MCP_TRANSPORT = {
        "AUTHENTICATORS": ["token", {"BACKEND": "drf", "OPTIONS": {"CLASSES": [f"{HERE}.Keys"]}}]
    }
    key = Token.objects.create(user=ann).key
    for token in (PersonalToken.objects.issue(ann)[1], key):
        with MCPClient(token=token, session=session) as client:
            assert client.call("whoami").result == "ann"
    assert MCPClient(token="mcp_wrong", session=session).call("whoami").status == 401
    settings.MCP_TRANSPORT = {
        "AUTHENTICATORS": [
            {"BACKEND": "drf", "OPTIONS": {"CLASSES": ["rest_framework.authentication.TokenAuthentication"]}}
        ]
    }
    with MCPClient(headers={"Authorization": f"Token {key}"}, session=session) as client:
        assert client.call("whoami").result == "ann"


@pytest.mark.django_db
@both_eras
def test_headers_go_with_each_request(session: bool, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["mcp.example.com"]
    with MCPClient(headers={"X-Tenant": "eu", "Host": "mcp.example.com"}, session=session) as client:
        assert client.call("header", name="x-tenant").result == "eu"
        assert client.call("header", name="host").result == "mcp.example.com"


# -- what is left behind ---------------------------------------------------------------------------------------


@pytest.mark.django_db
@both_eras
def test_nothing_is_left_behind(session: bool) -> None:
    created: list[str] = []

    def note(**kwargs: Any) -> None:
        created.append(threading.current_thread().name)

    before, handler = set(threading.enumerate()), signal.getsignal(signal.SIGTERM)
    connection_created.connect(note)
    try:
        with MCPClient(session=session, elicit={"sure": True}) as client:
            for name in [*ORM, "confirm", "refuse"]:
                client.call(name)
            with pytest.raises(Crash):
                client.call("crash_late")
    finally:
        connection_created.disconnect(note)
    assert set(threading.enumerate()) <= before
    assert created == []
    assert signal.getsignal(signal.SIGTERM) is handler
    gc.collect()  # so that what is not closed warns


@both_eras
async def test_nothing_is_left_behind_on_the_loop(session: bool) -> None:
    frozen, handler = gc.get_freeze_count(), signal.getsignal(signal.SIGTERM)
    async with MCPClient(session=session, elicit={"sure": True}) as client:
        (await client.acall("confirm")).assert_ok()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert signal.getsignal(signal.SIGTERM) is handler
    assert gc.get_freeze_count() <= frozen  # what was frozen may end


async def test_client_that_ends_leaves_the_calls_of_others_alone() -> None:
    clients = [MCPClient(session=number % 2 == 1, elicit={"sure": True}) for number in range(8)]

    async def ask(client: MCPClient) -> list[Any]:
        async with client:
            return [(await client.acall("confirm")).result for _ in range(3)]

    assert await asyncio.gather(*map(ask, clients)) == [["accept True"] * 3] * 8


# -- where the endpoint is -------------------------------------------------------------------------------------


@pytest.fixture
def mounted(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.django.without_endpoint"
    settings.ASGI_APPLICATION = "tests.django.without_endpoint.application"


@pytest.mark.django_db
@both_eras
def test_mount_is_reached_through_the_application(session: bool, mounted: None) -> None:
    Group.objects.create(name="a")
    with MCPClient(session=session, elicit={"sure": True}) as client:
        assert client.call("groups").result == ["a"]
        assert client.call("report_then_count").result == 2
        assert client.call("report_from_a_thread").progress == [(1, 2, None)]
        assert client.call("close_stream").result == 1
        assert client.call("confirm").result == "accept True"
        with pytest.raises(Crash):
            client.call("crash_late")
        assert "add" in {item["name"] for item in client.list_tools()}


async def test_mount_is_reached_by_asynchronous_tests(mounted: None) -> None:
    for session in (False, True):
        async with MCPClient(session=session, elicit={"sure": True}) as client:
            assert (await client.acall("confirm")).result == "accept True"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.django_db
def test_another_path_is_reached(settings: Any) -> None:
    assert MCPClient(path="/mcp/").call("add", a=1, b=1).result == 2
    settings.ROOT_URLCONF = "tests.django.without_endpoint"
    settings.ASGI_APPLICATION = "tests.django.without_endpoint.elsewhere"
    assert MCPClient(path="/tools").call("add", a=1, b=1).result == 2
    with pytest.raises(AssertionError, match=r"HTTP 404 is not an MCP response.*MCPClient\(path="):
        MCPClient().call("add", a=1, b=1)


def test_wrong_setting_or_a_missing_endpoint_is_raised_in_the_test(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "missing.server"}
    with pytest.raises(ImproperlyConfigured, match="SERVER"):
        MCPClient().call("add", a=1, b=1)
    settings.ROOT_URLCONF = "tests.django.without_endpoint"
    with pytest.raises(ImproperlyConfigured, match=r"does not include mcp_transport\.urls, and the setting"):
        MCPClient()
