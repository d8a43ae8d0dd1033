"""The admin pages of the package's apps are entries, too: nobody but staff with the permission gets in.

Those of sessions are tried further in tests/admin, the REST API for operators in tests/api.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.authtoken.models import Token

from mcp_transport.contrib.tokens.models import PersonalToken
from mcp_transport.models import Session

pytestmark = pytest.mark.django_db

MODELS = {
    model._meta.model_name: model for model in admin.site._registry if model.__module__.startswith("mcp_transport.")
}
"""Whatever apps of the package are installed."""

PAGES = ("changelist", "add", "change", "history", "delete")
METHODS = ("GET", "POST")
ACTION = {"action": "delete_selected", "post": "yes", "index": "0"}


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


def make(model: type[Model], owner: User) -> Model:
    """Make a row that there is something to see of."""
    if model is PersonalToken:
        return PersonalToken.objects.issue(owner, name="laptop", scopes="secret-scope")[0]
    if model is Session:
        return Session(key="A" * 26)  # in no database: the page of one that is over
    made: Model = model._default_manager.create(when=timezone.now(), event="tool_called", user="secret-scope")
    return made


def url(model: type[Model], page: str, row: Model) -> str:
    arguments = [row.pk] if page in ("change", "history", "delete") else []
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def send(client: Client, method: str, place: str, row: Model, **headers: str) -> Any:
    data = {**ACTION, "_selected_action": str(row.pk)} if method == "POST" else {}
    return client.generic(method, place, headers=headers) if not data else client.post(place, data, headers=headers)


def as_nobody(client: Client, ann: User) -> dict[str, str]:
    return {}


def as_ann(client: Client, ann: User) -> dict[str, str]:
    """Log somebody in who is not staff."""
    client.force_login(ann)
    return {}


def by_personal_token(client: Client, ann: User) -> dict[str, str]:
    """Send a token of an administrator: it is for the endpoint alone."""
    boss = User.objects.create_superuser("boss")
    return {"Authorization": f"Bearer {PersonalToken.objects.issue(boss)[1]}"}


def by_rest_token(client: Client, ann: User) -> dict[str, str]:
    boss = User.objects.create_superuser("boss")
    return {"Authorization": f"Token {Token.objects.create(user=boss).key}"}


def by_inactive_staff(client: Client, ann: User) -> dict[str, str]:
    boss = User.objects.create_superuser("boss")
    client.force_login(boss)
    User.objects.filter(pk=boss.pk).update(is_active=False)
    return {}


OUTSIDERS: tuple[Callable[[Client, User], dict[str, str]], ...] = (
    as_nobody,
    as_ann,
    by_personal_token,
    by_rest_token,
    by_inactive_staff,
)

entries = pytest.mark.parametrize("page", PAGES)
models = pytest.mark.parametrize("name", MODELS)
methods = pytest.mark.parametrize("method", METHODS)


def rows(model: type[Model]) -> list[dict[str, Any]]:
    return list(model._default_manager.values())


@models
@entries
@methods
@pytest.mark.parametrize("outsider", OUTSIDERS, ids=lambda outsider: outsider.__name__)
def test_outsider_is_sent_to_the_login(
    client: Client, ann: User, name: str, page: str, method: str, outsider: Any
) -> None:
    model = MODELS[name]
    row = make(model, ann)
    headers = outsider(client, ann)
    before, place = rows(model), url(model, page, row)
    response = send(client, method, place, row, **headers)
    assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={place}")
    assert response.content == b""
    assert rows(model) == before


@models
@entries
@methods
def test_staff_without_permission_is_refused(client: Client, ann: User, name: str, page: str, method: str) -> None:
    model = MODELS[name]
    row = make(model, ann)
    clerk = User.objects.create_user("clerk", is_staff=True)
    others = Permission.objects.exclude(content_type__model=name)
    clerk.user_permissions.set(others)
    client.force_login(clerk)
    before = rows(model)
    response = send(client, method, url(model, page, row), row)
    assert response.status_code == 403
    assert "secret-scope" not in response.content.decode()
    assert rows(model) == before


@models
def test_administrator_gets_in(admin_client: Client, ann: User, name: str) -> None:
    model = MODELS[name]
    response = send(admin_client, "GET", url(model, "changelist", row := make(model, ann)), row)
    shows = "secret-scope" in response.content.decode()
    assert (response.status_code, shows) == (200, model is not Session)


def test_apps_of_the_package_are_among_the_entries() -> None:
    assert {"personaltoken", "session"} <= set(MODELS)
