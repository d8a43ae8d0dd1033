"""The client for tests in grown projects: middleware, users and tokens, settings, queries, what is left behind."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.signals import connection_created
from django.http import HttpResponse
from django.test import TestCase, TransactionTestCase, modify_settings, override_settings
from django.utils import translation
from mcp.server.mcpserver.exceptions import ToolError
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token

from mcp_transport import signals, tool
from mcp_transport.contrib.tokens.models import PersonalToken
from mcp_transport.test import MCPClient
from tests.django.tested_tools import Crash, declare

both_eras = pytest.mark.parametrize("session", [False, True], ids=["2026-07-28", "2025-11-25"])

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


class Keys(TokenAuthentication):
    """Tokens of DRF as bearer tokens."""

    keyword = "Bearer"


@pytest.fixture(autouse=True)
def tools(declarations: Any) -> None:
    declare()


# -- middleware ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
@both_eras
@pytest.mark.parametrize("middleware", [[], [f"{HERE}.Plain"], [f"{HERE}.Plain"] * 2, GROWN], ids=len)
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
@pytest.mark.parametrize("middleware", [[], [f"{HERE}.Plain"], [f"{HERE}.Plain"] * 2, GROWN], ids=len)
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
def test_middleware_that_answers_by_itself_fails_the_test(session: bool, settings: Any) -> None:
    settings.MIDDLEWARE = [f"{HERE}.Closed"]
    with pytest.raises(AssertionError, match=r"(?s)HTTP 403 is no answer of MCP.*We are closed"):
        MCPClient(session=session).call("add", a=1, b=1)


@pytest.mark.django_db
@both_eras
def test_what_middleware_raises_is_raised_in_the_test(session: bool, settings: Any) -> None:
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
    session: bool, middleware: list[str], settings: Any
) -> None:
    @tool
    def write_and_refuse() -> int:
        """Write, then refuse."""
        Group.objects.create(name="b")
        raise ToolError("no")

    settings.MIDDLEWARE = middleware
    settings.MCP_TRANSPORT = {}
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        with MCPClient(session=session) as client:
            client.call("make_group", name="a").assert_ok()
            client.call("write_and_refuse").assert_error("no")
            assert client.call("groups").result == ["a"]
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


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
def test_user_needs_sessions(settings: Any) -> None:
    ann = User.objects.create_user("ann")
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django.contrib.sessions"]
    with pytest.raises(ImproperlyConfigured, match=r'needs "django.contrib.sessions" in INSTALLED_APPS'):
        MCPClient(user=ann)


@pytest.mark.django_db
@both_eras
def test_user_needs_authentication_middleware(session: bool, settings: Any) -> None:
    ann = User.objects.create_user("ann")
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    with pytest.raises(ImproperlyConfigured, match="AuthenticationMiddleware"):
        MCPClient(user=ann, session=session).call("whoami")


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


# -- settings and the state of the test ----------------------------------------------------------------------


@pytest.mark.django_db
@both_eras
def test_language_of_the_test_is_active_in_tools(session: bool) -> None:
    with MCPClient(session=session) as client, translation.override("de"):
        assert client.call("greet").result == ["de", "Ja"]
    with translation.override("fr"):
        assert MCPClient().call("greet").result == ["fr", "Oui"]


class TestCaseOfDjango(TestCase):
    """The client where most projects test."""

    @classmethod
    def setUpTestData(cls) -> None:
        Group.objects.create(name="of the class")
        cls.ann = User.objects.create_user("ann")
        cls.logged_in = MCPClient(user=cls.ann)
        with modify_settings(MIDDLEWARE={"append": f"{HERE}.Plain"}):
            cls.asked = MCPClient(elicit=[{"sure": True}, "decline"])
            cls.asked.list_tools()

    def test_tool_sees_the_data_of_the_class(self) -> None:
        for session in (False, True):
            with MCPClient(session=session) as client:
                self.assertEqual(client.call("groups").result, ["of the class"])
                self.assertEqual(client.call("count_groups").result, 1)

    def test_what_a_tool_writes_is_rolled_back(self) -> None:
        self.logged_in.call("make_group", name="of the tool").assert_ok()
        self.assertEqual(Group.objects.count(), 2)

    test_what_a_tool_writes_is_rolled_back_each_time = test_what_a_tool_writes_is_rolled_back

    def test_user_of_the_class_is_logged_in(self) -> None:
        self.assertEqual(self.logged_in.call("whoami").result, "ann")

    def test_client_of_the_class_is_as_the_class_left_it(self) -> None:
        self.assertEqual(self.asked.call("confirm").result, "accept True")

    test_client_of_the_class_is_so_each_time = test_client_of_the_class_is_as_the_class_left_it

    def test_queries_of_tools_are_counted(self) -> None:
        for session in (False, True):
            with MCPClient(session=session) as client:
                client.call("add", a=1, b=1)
                for name in ("groups", "count_groups"):
                    with self.assertNumQueries(1):
                        client.call(name).assert_ok()
                for name in ("report_then_count", "report_from_a_thread"):
                    with self.assertNumQueries(2):
                        client.call(name).assert_ok()

    def test_settings_are_overridden(self) -> None:
        client = MCPClient()
        with self.settings(MCP_TRANSPORT={"AUTHENTICATORS": []}):
            self.assertEqual(client.call("whoami").status, 401)
        with override_settings(MCP_TRANSPORT={"PROTOCOL_VERSIONS": ["2025-06-18"]}):
            client.call("whoami").assert_error("2025-06-18")
        with modify_settings(MIDDLEWARE={"append": f"{HERE}.Plain"}):
            self.assertEqual(MCPClient().call("whoami").headers["x-plain"], "1")
        client.call("whoami").assert_ok()

    async def test_asynchronous_methods_see_the_transaction(self) -> None:
        await Group.objects.acreate(name="of the method")
        for session in (False, True):
            async with MCPClient(session=session, user=self.ann) as client:
                for name in ("count_groups", "report_then_count", "report_from_a_thread"):
                    (await client.acall(name)).assert_ok()
                self.assertEqual((await client.acall("groups")).result, ["of the class", "of the method"])
                self.assertEqual((await client.acall("whoami")).result, "ann")

    async def test_synchronous_method_is_used_from_a_thread(self) -> None:
        for session in (False, True):
            client = MCPClient(session=session)
            for name in ("count_groups", "report_from_a_thread"):
                (await sync_to_async(client.call)(name)).assert_ok()
            await client.aclose()

    async def test_synchronous_method_in_asynchronous_code_names_the_other_one(self) -> None:
        with self.assertRaisesMessage(RuntimeError, "such as acall() for call()"):
            MCPClient().call("add", a=1, b=1)


class TransactionTestCaseOfDjango(TransactionTestCase):
    """The client where transactions are committed."""

    def test_clients_in_threads(self) -> None:
        Group.objects.create(name="a")
        results: list[Any] = []

        def ask(session: bool) -> None:
            with MCPClient(session=session) as client:
                results.extend(client.call("add", a=number, b=0).result for number in range(5))

        threads = [threading.Thread(target=ask, args=[number % 2 == 1]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(sorted(results), sorted([*range(5)] * 6))


@pytest.mark.django_db
@both_eras
def test_signals_are_received_within_the_transaction_before_the_call_returns(session: bool) -> None:
    received: list[Any] = []

    def receive(event: Any, **kwargs: Any) -> None:
        received.append((type(event).__name__, threading.current_thread(), Group.objects.count()))

    for signal_ in (signals.tool_called, signals.session_opened, signals.session_closed):
        signal_.connect(receive)
    try:
        with MCPClient(session=session) as client:
            client.call("make_group", name="a").assert_ok()
    finally:
        for signal_ in (signals.tool_called, signals.session_opened, signals.session_closed):
            signal_.disconnect(receive)
    kinds = ["SessionOpened", "ToolCalled", "SessionClosed"] if session else ["ToolCalled"]
    assert received == [(kind, threading.current_thread(), 1) for kind in kinds]


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
    with pytest.raises(AssertionError, match=r"HTTP 404 is no answer of MCP.*MCPClient\(path="):
        MCPClient().call("add", a=1, b=1)


def test_project_without_an_endpoint_is_told_so(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.django.without_endpoint"
    with pytest.raises(ImproperlyConfigured, match=r"does not include mcp_transport\.urls, and there is no setting"):
        MCPClient()


def test_wrong_setting_is_raised_in_the_test(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "missing.server"}
    with pytest.raises(ImproperlyConfigured, match="SERVER"):
        MCPClient().call("add", a=1, b=1)
