"""Who may do what: each route for each kind of user, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tests.api.conftest import ROOT, Operator, ask, open_session, routes

NOBODY = "sessions/AAAAAAAAAAAAAAAAAAAAAAAAAA/"
ROUTES = [
    ("GET", "sessions/", "view", 200),
    ("GET", NOBODY, "view", 404),
    ("DELETE", NOBODY, "delete", 404),
    ("GET", f"{NOBODY}calls/", "view", 404),
    ("POST", f"{NOBODY}calls/cancel/", "change", 404),
    ("GET", f"{NOBODY}messages/", "view", 404),
    ("GET", "overview/", "view", 200),
    ("GET", "metrics/", "view", 200),
    ("GET", "nodes/", "view", 200),
    ("GET", "tools/", "view", 200),
    ("GET", "schema/", "view", 200),
]
pytestmark = pytest.mark.usefixtures("shared_cache")


def test_every_route_is_among_these() -> None:
    shown = {path.replace("{id}", NOBODY.split("/")[1])[1:] for path, _ in routes()}
    assert shown == {path for _, path, _, _ in ROUTES}


@pytest.mark.parametrize(("method", "path", "permission", "status"), ROUTES, ids=str)
def test_route_is_for_those_with_its_permission_alone(
    method: str, path: str, permission: str, status: int, operator: Operator, superuser: APIClient
) -> None:
    others = {"view", "change", "delete", "payloads"} - {permission}
    asked = {
        "anonymous": (APIClient(), 403),
        "without permissions": (operator(), 403),
        "staff without permissions": (operator(is_staff=True), 403),
        "the other permissions": (operator(*others), 403),
        "inactive": (operator(permission, is_active=False), 403),
        "the permission": (operator(permission), status),
        "superuser": (superuser, status),
    }
    answers = {who: ask(client, method, path).status_code for who, (client, _) in asked.items()}
    assert answers == {who: expected for who, (_, expected) in asked.items()}


@pytest.mark.parametrize(("method", "path", "permission", "status"), ROUTES, ids=str)
def test_anonymous_caller_is_asked_for_credentials(
    method: str, path: str, permission: str, status: int, challenging: None
) -> None:
    answer = ask(APIClient(), method, path)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Basic realm="api"')


class Generous(ModelBackend):
    """Grants everything to everybody, as a backend of a public site may."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return True


def test_anonymous_caller_is_refused_whatever_a_backend_grants(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Generous"]
    assert ask(APIClient(), "GET", "sessions/").status_code == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method: str, superuser: APIClient, operator: Operator) -> None:
    assert ask(superuser, method, NOBODY).status_code == 405
    assert ask(operator(), method, NOBODY).status_code == 403


def test_head_needs_what_get_needs(superuser: APIClient, operator: Operator) -> None:
    assert superuser.head(f"{ROOT}sessions/").status_code == 200
    assert operator("delete", "change").head(f"{ROOT}sessions/").status_code == 403


def test_credentials_are_what_the_project_takes(permissions: Any, challenging: None) -> None:
    user = User.objects.create_user("ann", password="secret")
    user.user_permissions.add(permissions["view"])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Basic YW5uOnNlY3JldA==")
    assert client.get(f"{ROOT}sessions/").status_code == 200
    client.credentials(HTTP_AUTHORIZATION="Basic YW5uOndyb25n")
    assert client.get(f"{ROOT}sessions/").status_code == 401


def test_login_by_cookie_ends_nothing_without_a_csrf_token(permissions: Any) -> None:
    user = User.objects.create_user("ann")
    user.user_permissions.add(*permissions.values())
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    open_session()
    [found] = client.get(f"{ROOT}sessions/").json()["results"]
    assert client.delete(f"{ROOT}sessions/{found['key']}/").status_code == 403
    assert client.get(f"{ROOT}sessions/").json()["count"] == 1
