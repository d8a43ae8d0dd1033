"""The user of a request is whom `request.user` names, whatever middleware has made of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.backends import db
from django.contrib.sessions.middleware import SessionMiddleware
from django.test import AsyncClient, Client
from django.utils import timezone

from mcp_transport import Context, tool
from mcp_transport.auth import request_user
from tests.django import middleware
from tests.support.client import ENVELOPE
from tests.support.http.messages import INITIALIZE, rpc

CALL = rpc("tools/call", {"name": "look", "arguments": {}, "_meta": ENVELOPE})
HEADERS = {
    "accept": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "look",
}
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
DJANGOS = [SESSIONS, AUTHENTICATION]


@pytest.fixture(autouse=True)
def look(declarations: Any) -> None:
    @tool
    def look(ctx: Context) -> str:
        """Name the caller, as the context and as the request do."""
        named = getattr(ctx.request, "user", None)
        if named is not None:
            assert named == ctx.user or not (named.is_authenticated or ctx.user.is_authenticated)
        return ctx.user.get_username() or "-"


@pytest.fixture
def users(transactional_db: None) -> tuple[User, User]:
    return User.objects.create_user("ann"), User.objects.create_user("bob")


def path_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def named(response: Any) -> str:
    assert response.status_code == 200, response.content
    text: str = json.loads(response.content)["result"]["content"][0]["text"]
    return text


async def asked(client: AsyncClient, url: str = "/mcp", **headers: str) -> str:
    return named(await client.post(url, CALL, content_type="application/json", headers={**HEADERS, **headers}))


def asked_under_wsgi(client: Client, **environment: Any) -> str:
    return named(client.post("/mcp", CALL, content_type="application/json", headers=HEADERS, **environment))


async def logged_in(user: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(user)
    return client


# -- what middleware makes of a user -------------------------------------------------------------------


@pytest.fixture(
    params=[
        *((middleware.Plain, change) for change in middleware.CHANGES),
        *(
            (kind, change)
            for kind in middleware.KINDS[1:]
            for change in (middleware.sets, middleware.takes_away_lazily, middleware.deletes)
        ),
    ],
    ids=lambda pair: f"{pair[0].__name__} {pair[1].__name__}",
)
def change(request: Any, monkeypatch: pytest.MonkeyPatch, settings: Any) -> str:
    """Have a middleware do something to requests of ann; return whom they name then."""
    kind, changed = request.param
    settings.MIDDLEWARE = [*DJANGOS, path_of(kind)]
    monkeypatch.setattr(middleware, "change", changed)
    return middleware.CHANGES[changed]


async def test_the_tool_sees_whom_the_request_names(change: str, users: Any) -> None:
    assert await asked(await logged_in(users[0])) == change


def test_the_same_holds_under_wsgi(change: str, db: None) -> None:
    User.objects.create_user("bob")
    client = Client()
    client.force_login(User.objects.create_user("ann"))
    assert asked_under_wsgi(client) == change


async def test_a_replaced_auser_does_not_hide_the_user(users: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [*DJANGOS, path_of(middleware.WrongAUser)]
    assert await asked(await logged_in(users[0])) == "ann"


async def test_a_user_whom_middleware_puts_on_a_request_without_a_session_is_seen(
    users: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = [*DJANGOS, path_of(middleware.Plain)]
    for changed in (middleware.sets, middleware.sets_a_lazy_object, middleware.writes_the_session):
        monkeypatch.setattr(middleware, "change", changed)
        assert await asked(AsyncClient()) == "bob"


async def test_the_session_authenticator_does_not_bring_back_a_user_whom_middleware_took_away(
    users: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = [*DJANGOS, path_of(middleware.Plain)]
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["session", None]}
    client = await logged_in(users[0])
    for changed in (change for change, name in middleware.CHANGES.items() if name == "-"):
        monkeypatch.setattr(middleware, "change", changed)
        assert await asked(client) == "-"


# -- Django's own parts, and others' -------------------------------------------------------------------


async def test_user_of_the_session_cookie_reaches_the_tool(users: Any) -> None:
    client = AsyncClient()
    assert await asked(client) == "-"
    await client.aforce_login(users[0])
    assert await asked(client) == "ann"
    await client.alogout()
    assert await asked(client) == "-"


async def test_session_of_a_user_does_not_exist_for_another(users: Any) -> None:
    ann, bob, nobody = await logged_in(users[0]), await logged_in(users[1]), AsyncClient()
    headers = {"accept": "application/json, text/event-stream"}
    initialized = await ann.post("/mcp", INITIALIZE, content_type="application/json", headers=headers)
    headers["mcp-session-id"] = initialized["mcp-session-id"]

    async def ping(client: Any) -> int:
        response = await client.post("/mcp", rpc("ping"), content_type="application/json", headers=headers)
        return int(response.status_code)

    assert [await ping(client) for client in (ann, bob, nobody)] == [200, 404, 404]
    await ann.aforce_login(users[0])  # a new cookie, the same user
    assert await ping(ann) == 200


async def test_common_middleware_redirects_neither_form_of_the_url_and_none_is_needed(settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", *settings.MIDDLEWARE]
    assert [await asked(AsyncClient(), url) for url in ("/mcp", "/mcp/")] == ["-", "-"]
    settings.MIDDLEWARE = []
    assert await asked(AsyncClient()) == "-"


class Locked(ModelBackend):
    """A backend that finds nobody, in the method that Django's own `auser` passes by."""

    def get_user(self, user_id: Any) -> Any:
        return None


class Forgetful(db.SessionStore):
    """A session store that holds nothing, in the method that Django's own `auser` passes by."""

    def load(self) -> dict[str, Any]:
        return {}


class Store(SessionMiddleware):
    """Opens sessions in that store."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.SessionStore = Forgetful


async def test_a_backend_that_finds_nobody_and_a_store_that_holds_nothing_are_believed(
    users: Any, settings: Any
) -> None:
    client = await logged_in(users[0])
    settings.MIDDLEWARE = [f"{__name__}.Store", AUTHENTICATION]
    assert await asked(client) == "-"
    settings.MIDDLEWARE, settings.AUTHENTICATION_BACKENDS = DJANGOS, [f"{__name__}.Locked"]
    await client.aforce_login(users[0], backend=f"{__name__}.Locked")
    assert await asked(client) == "-"


async def test_who_has_no_session_costs_no_thread(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def evaluated(request: Any) -> Any:
        raise AssertionError("a thread was asked")

    monkeypatch.setattr(request_user, "_evaluated", evaluated)
    settings.MIDDLEWARE = DJANGOS
    assert await asked(AsyncClient()) == "-"


def test_the_user_of_remote_user_middleware(db: None, settings: Any) -> None:
    settings.MIDDLEWARE = [*DJANGOS, "django.contrib.auth.middleware.RemoteUserMiddleware"]
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    assert asked_under_wsgi(Client(), REMOTE_USER="bob") == "bob"


async def test_the_user_of_oauth_toolkits_middleware(users: Any, settings: Any) -> None:
    from oauth2_provider.models import AccessToken, Application  # type: ignore[import-untyped]

    settings.MIDDLEWARE = [*DJANGOS, "oauth2_provider.middleware.OAuth2TokenMiddleware"]
    settings.AUTHENTICATION_BACKENDS = [
        "oauth2_provider.backends.OAuth2Backend",
        "django.contrib.auth.backends.ModelBackend",
    ]
    application = await Application.objects.acreate(
        user=users[0],
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
    )
    expires = timezone.now() + timedelta(hours=1)
    await AccessToken.objects.acreate(
        user=users[1], application=application, token="a-token-of-bob", scope="read", expires=expires
    )
    assert await asked(AsyncClient(), authorization="Bearer a-token-of-bob") == "bob"
