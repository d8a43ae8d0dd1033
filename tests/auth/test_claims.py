"""From the claims of a token to its principal: scopes, name, the project's user, and whom nothing is known of."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth.claims import Audience, ClaimReader
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from tests.auth.issuer import ISSUER, RESOURCE

NO_USER = "no active user matches the token"
UNVERIFIED = "the token's email address is not verified"
NO_CLAIM = "the token has no USER_CLAIM"


def reader(**options: Any) -> ClaimReader:
    return ClaimReader(**{"issuer": ISSUER, **options})


async def principal_of(claims: dict[str, Any], **options: Any) -> Principal:
    return await reader(**options).principal({"sub": "ann-1", **claims}, "ann-1")


async def reason(claims: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InvalidCredentials) as caught:
        await principal_of(claims, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given_claims", "scope_claim", "scopes"),
    [
        ({"scope": "read  write\tread"}, "scope", {"read", "write"}),
        ({"scope": ""}, "scope", set()),
        ({"scope": ["read", "write"]}, "scope", {"read", "write"}),
        ({"scope": ["read", 17, ["write"]]}, "scope", {"read"}),
        ({"scope": {"read": True}}, "scope", set()),
        ({"scope": 17}, "scope", set()),
        ({"scope": None}, "scope", set()),
        ({"scope": None, "scp": ["read"]}, "scope", {"read"}),
        ({"scope": None, "scp": "read write"}, "scope", {"read", "write"}),
        ({"scope": "read", "scp": ["write"]}, "scope", {"read"}),
        ({"permissions": ["read"]}, "permissions", {"read"}),
        ({"scp": ["read"]}, "permissions", set()),
    ],
)
async def test_scopes(given_claims: dict[str, Any], scope_claim: str, scopes: set[str]) -> None:
    assert (await principal_of(given_claims, scope_claim=scope_claim)).scopes == scopes


@pytest.mark.parametrize(
    ("given_claims", "name"),
    [
        ({}, "ann-1"),
        ({"preferred_username": "ann", "client_id": "editor"}, "ann"),
        ({"client_id": "editor", "azp": "other"}, "editor"),
        ({"azp": "editor"}, "editor"),
        ({"preferred_username": "", "client_id": ["x"], "azp": "a\nb"}, "ann-1"),
    ],
)
async def test_name_is_what_operators_know(given_claims: dict[str, Any], name: str) -> None:
    assert (await principal_of(given_claims)).name == name


# -- users of the project --------------------------------------------------------------------------------


async def test_users_of_the_project_are_found_by_a_claim(transactional_db: None) -> None:
    ann = await User.objects.acreate_user("ann", email="ann@x.example")
    await User.objects.acreate_user("bob", is_active=False)
    found = await principal_of({"nick": "ann", "preferred_username": "x"}, user_claim="nick")
    assert (found.user, found.name, found.subject) == (ann, "ann", "ann-1")
    assert (await principal_of({"uid": ann.pk}, user_claim="uid", user_field="pk")).user == ann
    by_mail = {"user_claim": "email", "user_field": "email"}
    assert (await principal_of({"email": "ann@x.example", "email_verified": True}, **by_mail)).user == ann
    for verified in ({}, {"email_verified": False}, {"email_verified": None}, {"email_verified": "no"}):
        assert await reason({"email": "ann@x.example", **verified}, **by_mail) == UNVERIFIED
    for name in ("bob", "eve", "ANN"):
        assert await reason({"nick": name}, user_claim="nick") == NO_USER
    for value in (None, "", ["ann"], True, "a\x00n"):
        assert await reason({"nick": value}, user_claim="nick") == NO_CLAIM


@pytest.mark.parametrize("field", ["nothing", "username__nothing", "pk__x"])
def test_a_field_that_users_do_not_have_is_refused_at_once(field: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="USER_FIELD"):
        reader(user_claim="nick", user_field=field)


@pytest.mark.parametrize("field", ["pk", "username", "email__iexact", "date_joined"])
def test_a_field_that_users_have_is_taken(field: str) -> None:
    reader(user_claim="nick", user_field=field)


def find_ann(seen: dict[str, Any]) -> Any:
    return User.objects.filter(username=seen["sub"].partition("-")[0]).first()


async def find_ann_async(seen: dict[str, Any]) -> Any:
    return await User.objects.filter(username=seen["sub"].partition("-")[0]).afirst()


class Finder:
    async def __call__(self, seen: dict[str, Any]) -> Any:
        return await find_ann_async(seen)


@pytest.mark.parametrize("user", [find_ann, find_ann_async, Finder(), f"{__name__}.find_ann"])
async def test_users_are_found_in_the_projects_own_way(transactional_db: None, user: Any) -> None:
    ann = await User.objects.acreate_user("ann")
    await User.objects.acreate_user("bob", is_active=False)
    assert (await principal_of({}, user=user)).user == ann
    for subject in ("bob-1", "eve-1"):
        assert await reason({"sub": subject}, user=user) == NO_USER


# -- principals that come back ---------------------------------------------------------------------------


async def test_subject_is_restored_without_its_scopes() -> None:
    assert await reader().principal_by_subject(ISSUER, "ann-1", {}) == Principal(
        ISSUER, "ann-1", AnonymousUser(), "ann-1", frozenset()
    )
    assert await reader().principal_by_subject("https://other.example", "ann-1", {}) is None
    assert await reader(user_claim="nick").principal_by_subject(ISSUER, "ann-1", {"sub": "ann-1"}) is None
    assert await reader(user=find_ann).principal_by_subject(ISSUER, "ann-1", {"sub": "ann-1"}) is None


async def test_active_user_is_restored_by_the_claim_that_is_known(transactional_db: None) -> None:
    ann = await User.objects.acreate_user("ann")
    by_sub = reader(user_claim="sub")
    assert await by_sub.principal_by_subject(ISSUER, "ann", {"sub": "ann"}) == Principal(
        ISSUER, "ann", ann, "ann", frozenset()
    )
    assert await by_sub.principal_by_subject(ISSUER, "eve", {"sub": "eve"}) is None
    await User.objects.filter(pk=ann.pk).aupdate(is_active=False)
    assert await by_sub.principal_by_subject(ISSUER, "ann", {"sub": "ann"}) is None


# -- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"issuer": ""}, "ISSUER"),
        ({"issuer": "https://auth.example\n"}, "ISSUER"),
        ({"user_claim": "sub", "user": find_ann}, "USER_CLAIM and USER are mutually exclusive"),
        ({"user": "tests.auth.nowhere.find"}, "USER cannot be imported"),
        ({"user": 17}, "USER must be callable"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        reader(**options)


@pytest.mark.parametrize("audience", [None, "", [], [""]])
def test_tokens_for_anybody_are_refused(audience: Any) -> None:
    """RFC 8707; RFC 9068, 4."""
    with pytest.raises(ImproperlyConfigured, match="RESOURCE_URL"):
        Audience(audience)


def test_audience_is_the_resource_of_the_settings(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://set.example/mcp"}
    assert "https://set.example/mcp" in Audience(None)
    assert RESOURCE not in Audience(None)
    assert RESOURCE in Audience(RESOURCE)
