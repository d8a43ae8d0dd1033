"""The user of a request is whom `request.user` names, whatever middleware has made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
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

CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "look", "arguments": {}, "_meta": ENVELOPE},
}
HEADERS = {
    "accept": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "look",
}
DJANGOS = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


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


def changing(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@pytest.fixture(params=middleware.CHANGES, ids=lambda change: change.__name__)
def change(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have the middleware do something to requests; return whom they name then."""
    monkeypatch.setattr(middleware, "change", request.param)
    return middleware.CHANGES[request.param]


def named(response: Any) -> str:
    assert response.status_code == 200, response.content
    text: str = json.loads(response.content)["result"]["content"][0]["text"]
    return text


async def asked(client: AsyncClient, **headers: str) -> str:
    return named(await client.post("/mcp", CALL, content_type="application/json", headers={**HEADERS, **headers}))


@pytest.mark.parametrize("kind", middleware.KINDS)
async def test_the_tool_sees_whom_the_request_names(kind: type, change: str, users: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [*DJANGOS, changing(kind)]
    client = AsyncClient()
    await client.aforce_login(users[0])
    assert await asked(client) == change


@pytest.mark.parametrize("kind", middleware.KINDS)
def test_the_same_holds_under_wsgi(kind: type, change: str, users: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [*DJANGOS, changing(kind)]
    client = Client()
    client.force_login(users[0])
    response = client.post("/mcp", json.dumps(CALL), content_type="application/json", headers=HEADERS)
    assert named(response) == change


async def test_a_replaced_auser_does_not_hide_the_user(users: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [*DJANGOS, changing(middleware.WrongAUser)]
    client = AsyncClient()
    await client.aforce_login(users[0])
    assert await asked(client) == "ann"


class Locked(ModelBackend):
    """A backend that finds nobody, in the method that Django's own `auser` passes by."""

    def get_user(self, user_id: Any) -> Any:
        return None


class Forgetful(db.SessionStore):
    """A session store that holds nothing, in the method that Django's own `auser` passes by."""

    def load(self) -> dict[str, Any]:
        return {}


async def test_a_backend_that_finds_nobody_is_believed(users: Any, settings: Any) -> None:
    client = AsyncClient()
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Locked"]
    await client.aforce_login(users[0], backend=f"{__name__}.Locked")
    assert await asked(client) == "-"


async def test_a_session_store_that_holds_nothing_is_believed(users: Any, settings: Any) -> None:
    client = AsyncClient()
    await client.aforce_login(users[0])
    settings.MIDDLEWARE = [f"{__name__}.Store", "django.contrib.auth.middleware.AuthenticationMiddleware"]
    assert await asked(client) == "-"


class Store(SessionMiddleware):
    """Opens sessions in that store."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.SessionStore = Forgetful


async def test_who_has_no_session_costs_no_thread(users: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def evaluated(request: Any) -> Any:
        raise AssertionError("a thread was asked")

    monkeypatch.setattr(request_user, "_evaluated", evaluated)
    settings.MIDDLEWARE = DJANGOS
    assert await asked(AsyncClient()) == "-"


async def test_the_session_authenticator_does_not_bring_back_a_user_whom_middleware_took_away(
    users: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = [*DJANGOS, changing(middleware.Plain)]
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["session", None]}
    client = AsyncClient()
    await client.aforce_login(users[0])
    for changed in (change for change, name in middleware.CHANGES.items() if name == "-"):
        monkeypatch.setattr(middleware, "change", changed)
        assert await asked(client) == "-"


def test_the_user_of_remote_user_middleware(users: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [*DJANGOS, "django.contrib.auth.middleware.RemoteUserMiddleware"]
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    client = Client()
    response = client.post(
        "/mcp", json.dumps(CALL), content_type="application/json", headers=HEADERS, REMOTE_USER="bob"
    )
    assert named(response) == "bob"


async def test_the_user_of_oauth_toolkits_middleware(users: Any, settings: Any) -> None:
    from oauth2_provider.models import AccessToken, Application

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
    await AccessToken.objects.acreate(
        user=users[1],
        application=application,
        token="a-token-of-bob",
        scope="read",
        expires=timezone.now() + timedelta(hours=1),
    )
    assert await asked(AsyncClient(), authorization="Bearer a-token-of-bob") == "bob"
