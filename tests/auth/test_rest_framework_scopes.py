"""Scopes, clients without a user, and resources of the tokens that REST framework's classes take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from rest_framework_simplejwt.tokens import AccessToken as SimpleAccessToken

from tests.auth.test_rest_framework import OWN, SIMPLE_JWT, STATELESS, TOOLKIT, Own, authenticate, toolkit_token


def scopes_of(kind: str, *authorizations: str) -> Any:
    principal = authenticate(kind, *authorizations)
    assert principal is not None
    return principal.scopes


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": ["a", "b"]}, {"a", "b"}),
        ({"scopes": ["a"]}, {"a"}),
        ({"scopes": "a b"}, {"a", "b"}),
        ({"scope": ""}, set()),
        ({"scope": None}, set()),
        ({"scope": 7}, set()),
    ],
)
def test_scopes_of_a_jwt_are_its_claims(claims: dict[str, Any], scopes: set[str], ann: User) -> None:
    token = SimpleAccessToken.for_user(ann)
    token.payload.update(claims)
    assert scopes_of(SIMPLE_JWT, f"Bearer {token}") == scopes_of(STATELESS, f"Bearer {token}") == scopes


@pytest.mark.parametrize(("scope", "scopes"), [("read write", {"read", "write"}), ("read", {"read"}), ("", set())])
def test_scopes_of_the_toolkit_are_its_tokens(scope: str, scopes: set[str], ann: User) -> None:
    assert scopes_of(TOOLKIT, toolkit_token(ann, scope=scope)) == scopes


@pytest.mark.parametrize(
    ("credential", "scopes"),
    [
        (SimpleNamespace(scope="a b"), {"a", "b"}),
        (SimpleNamespace(scope=["a"]), {"a"}),
        (SimpleNamespace(scopes={"a": "All", "b": "Both"}), {"a", "b"}),
        (SimpleNamespace(scopes=("a",), scope="a b"), {"a"}),
        (SimpleNamespace(scopes=None), set()),
        ({"scope": "a"}, {"a"}),
        (SimpleNamespace(), None),
        ({}, None),
        ("scope", None),
        (b"scope", None),
        (None, None),
    ],
)
def test_scopes_are_where_credentials_keep_them(
    credential: Any, scopes: set[str] | None, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Own, "answer", (ann, credential))
    assert scopes_of(OWN) == scopes


# -- clients without a user, and tokens for somebody else ------------------------------------------------


def test_client_may_act_for_itself(ann: User) -> None:
    principal = authenticate(TOOLKIT, toolkit_token(None, scope="read write"))
    assert principal is not None
    assert (principal.issuer, principal.subject, principal.name) == ("django-client", "client:robot", "Robot")
    assert isinstance(principal.user, AnonymousUser)
    assert principal.scopes == {"read", "write"}
    assert principal.binding == "django-client\nclient:robot"


def test_client_without_scopes_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    application = SimpleNamespace(client_id="robot", name="")
    monkeypatch.setattr(Own, "answer", (None, SimpleNamespace(application=application)))
    principal = authenticate(OWN)
    assert principal is not None
    assert (principal.scopes, principal.name) == (frozenset(), "robot")


def test_token_of_the_toolkit_is_for_its_resource(ann: User, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://testserver/mcp"}
    good = ["https://testserver/mcp", "https://testserver"]
    for resource in (*good, "http://testserver/mcp", "https://other.example/mcp", "https://testserver/api"):
        credentials = toolkit_token(ann, text=f"for {resource}".replace(" ", "-"), resource=[resource])
        assert (authenticate(TOOLKIT, credentials) is not None) is (resource in good), resource
