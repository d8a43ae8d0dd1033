"""The admin pages of the package's apps are entries, too: nobody but staff with the permission gets in.

Those of sessions are tried further in tests/admin, the REST API for operators in tests/api.
"""

from __future__ import annotations

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


@pytest.fixture(params=MODELS)
def row(request: pytest.FixtureRequest, db: None) -> Model:
    """A row that there is something to see of."""
    model = MODELS[request.param]
    if model is PersonalToken:
        owner = User.objects.create_user("owner")
        return PersonalToken.objects.issue(owner, name="laptop", scopes="secret-scope")[0]
    if model is Session:
        return Session(key="A" * 26)  # in no database: the page of one that is over
    made: Model = model._default_manager.create(when=timezone.now(), event="tool_called", user="secret-scope")
    return made


def send_all(client: Client, row: Model, **headers: str) -> dict[str, Any]:
    """Ask for every page with GET and POST; return the answers by their paths."""
    options, answers = row._meta, {}
    action = {"action": "delete_selected", "post": "yes", "index": "0", "_selected_action": str(row.pk)}
    for page in ("changelist", "add", "change", "history", "delete"):
        arguments = [row.pk] if page in ("change", "history", "delete") else []
        path = reverse(f"admin:{options.app_label}_{options.model_name}_{page}", args=arguments)
        answers[f"GET {path}"] = client.get(path, headers=headers)
        answers[f"POST {path}"] = client.post(path, action, headers=headers)
    return answers


def rows(row: Model) -> list[dict[str, Any]]:
    return list(type(row)._default_manager.values())


@pytest.mark.parametrize("outsider", ["nobody", "no staff", "personal token", "REST token", "inactive staff"])
def test_outsider_is_sent_to_the_login(client: Client, row: Model, outsider: str) -> None:
    headers: dict[str, str] = {}
    boss = User.objects.create_superuser("boss")  # whose tokens are for the endpoint and the REST API alone
    if outsider == "no staff":
        client.force_login(User.objects.create_user("ann"))
    elif outsider == "personal token":
        headers["Authorization"] = f"Bearer {PersonalToken.objects.issue(boss)[1]}"
    elif outsider == "REST token":
        headers["Authorization"] = f"Token {Token.objects.create(user=boss).key}"
    elif outsider == "inactive staff":
        client.force_login(boss)
        User.objects.filter(pk=boss.pk).update(is_active=False)
    before = rows(row)
    for asked, answer in send_all(client, row, **headers).items():
        assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={asked.split()[1]}")
        assert answer.content == b""
    assert rows(row) == before


def test_staff_without_permission_is_refused(client: Client, row: Model) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.exclude(content_type__model=row._meta.model_name))
    client.force_login(clerk)
    before = rows(row)
    for asked, answer in send_all(client, row).items():
        assert (answer.status_code, b"secret-scope" in answer.content) == (403, False), asked
    assert rows(row) == before


def test_administrator_gets_in(admin_client: Client, row: Model) -> None:
    path = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_changelist")
    answer = admin_client.get(path)
    assert (answer.status_code, b"secret-scope" in answer.content) == (200, not isinstance(row, Session))


def test_apps_of_the_package_are_among_the_entries() -> None:
    assert {"personaltoken", "session"} <= set(MODELS)
