"""Personal access tokens: how they are issued, and which of them are accepted."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError, IntegrityError
from django.utils import timezone

from mcp_transport.auth.factory import build_authentication
from mcp_transport.contrib.tokens.authenticator import TokenAuthenticator
from mcp_transport.contrib.tokens.models import PersonalToken, State
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest

HOUR = timedelta(hours=1)


def request_with(*authorizations: str) -> HTTPRequest:
    lines = [("Host", "testserver"), *(("Authorization", value) for value in authorizations)]
    return HTTPRequest(method="POST", headers=Headers(lines), path="/mcp", peer="192.0.2.1")


@async_to_sync
async def authenticate(*authorizations: str, **options: Any) -> Principal | None:
    return await TokenAuthenticator(**options).authenticate(request_with(*authorizations))


# -- the model -------------------------------------------------------------------------------------------


def test_issued_token_is_kept_as_a_digest_alone(ann: User) -> None:
    token, secret = PersonalToken.objects.issue(ann, name="laptop", scopes=["orders:read", "orders:write"])
    assert re.fullmatch(r"mcp_[\w-]{43}", secret)
    stored = PersonalToken.objects.filter(pk=token.pk).values().get()
    assert stored["digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert stored["hint"] == secret[:10]
    assert not [name for name, value in stored.items() if secret in str(value)]
    assert (stored["name"], stored["scopes"], stored["user_id"]) == ("laptop", "orders:read orders:write", ann.pk)
    assert stored["expires"] is stored["last_used"] is stored["revoked"] is None


def test_secrets_differ_and_their_digests_are_unique(ann: User) -> None:
    issued = [PersonalToken.objects.issue(ann) for _ in range(10)]
    assert len({secret for _, secret in issued}) == 10
    with pytest.raises(IntegrityError):
        PersonalToken.objects.create(user=ann, digest=issued[0][0].digest, hint="mcp_")


def test_neither_str_nor_repr_tells_the_secret(ann: User) -> None:
    token, secret = PersonalToken.objects.issue(ann, name="laptop")
    assert str(token) == f"{secret[:10]}… laptop"
    for text in (str(token), repr(token), str(vars(token))):
        assert secret not in text
        assert secret[10:] not in text


@pytest.mark.parametrize(
    ("scopes", "stored"),
    [((), ""), ("", ""), ("a b", "a b"), (["a", "b"], "a b"), ([" a", "b a"], "a b"), (iter(["a"]), "a")],
)
def test_scopes_come_as_text_or_one_by_one(scopes: Any, stored: str, ann: User) -> None:
    token, _ = PersonalToken.objects.issue(ann, scopes=scopes)
    assert token.scopes == stored
    assert token.scope_set == frozenset(stored.split())


@pytest.mark.parametrize("scope", ['a"b', "a\\b", "ä", "a\x7fb"])
def test_what_is_no_scope_is_refused(scope: str, ann: User) -> None:
    with pytest.raises(ValidationError, match="is not a valid scope"):
        PersonalToken.objects.issue(ann, scopes=["fine", scope])
    assert not PersonalToken.objects.exists()


def test_state_follows_from_the_times() -> None:
    now = timezone.now()
    assert PersonalToken().state is PersonalToken(expires=now + HOUR).state is State.VALID
    assert PersonalToken(expires=now - HOUR).state is State.EXPIRED
    assert PersonalToken(revoked=now).state is PersonalToken(revoked=now, expires=now - HOUR).state is State.REVOKED


def test_first_revocation_counts(ann: User) -> None:
    token, _ = PersonalToken.objects.issue(ann)
    token.revoke()
    first = token.revoked
    token.revoke()
    token.refresh_from_db()
    assert token.revoked == first is not None


def test_tokens_go_with_their_user(ann: User) -> None:
    PersonalToken.objects.issue(ann)
    assert ann.mcp_tokens.count() == 1
    ann.delete()
    assert not PersonalToken.objects.exists()


# -- the authenticator -----------------------------------------------------------------------------------


def test_valid_token_acts_for_its_user_with_its_scopes(ann: User) -> None:
    _, secret = PersonalToken.objects.issue(ann, scopes="orders:read", expires=timezone.now() + HOUR)
    principal = authenticate(f"Bearer {secret}")
    assert principal is not None
    assert principal.user == ann
    assert (principal.issuer, principal.subject, principal.name) == ("django", str(ann.pk), "ann")
    assert principal.scopes == {"orders:read"}


def test_token_without_scopes_has_none(ann: User) -> None:
    _, secret = PersonalToken.objects.issue(ann)
    principal = authenticate(f"bearer {secret}")  # the scheme has no case
    assert principal is not None
    assert principal.scopes == frozenset()
    assert not principal.has_scopes({"orders:read"})
    assert authenticate("Basic YW5uOmFubg==", f"Bearer {secret}") is None, "of two lines the first counts"
    assert authenticate(f"Bearer {secret}", "Basic YW5uOmFubg==") is not None


SCHEMES = ["", "Bearer", "Bearer ", "Token mcp_abc", "Basic YW5uOmFubg==", "mcp_abc"]
TOKENS = ["other_abc", "MCP_abc", "mcp_a b", "eyJh.eyJi.c", " "]


def test_other_credentials_are_left_to_others() -> None:
    for authorization in (*SCHEMES, *(f"Bearer {token}" for token in TOKENS)):
        assert authenticate(authorization) is None
    assert authenticate() is None


def test_unknown_token_is_refused(ann: User) -> None:
    token, secret = PersonalToken.objects.issue(ann)
    unknown = ["mcp_", "mcp_unknown", "mcp_\xff\xe9", "mcp_" + "a" * 43, "mcp_%", "mcp_\x00"]
    changed = [secret[:-1], secret + "a", secret.swapcase().replace("MCP", "mcp")]
    for wrong in (*unknown, *changed, f"mcp_{token.digest}", token.hint):
        with pytest.raises(InvalidCredentials, match=r"^no such personal token$"):
            authenticate(f"Bearer {wrong}")


def expire(token: PersonalToken) -> None:
    PersonalToken.objects.filter(pk=token.pk).update(expires=timezone.now() - HOUR)


def deactivate(token: PersonalToken) -> None:
    User.objects.filter(pk=token.user_id).update(is_active=False)


@pytest.mark.parametrize(
    ("spoil", "reason"), [(expire, "expired"), (PersonalToken.revoke, "revoked"), (deactivate, "not active")]
)
def test_token_that_is_no_longer_good_is_refused(spoil: Any, reason: str, ann: User) -> None:
    token, secret = PersonalToken.objects.issue(ann)
    assert authenticate(f"Bearer {secret}") is not None
    spoil(token)
    PersonalToken.objects.update(last_used=None)
    with pytest.raises(InvalidCredentials, match=reason) as refused:
        authenticate(f"Bearer {secret}")
    assert token.hint in str(refused.value)
    assert secret not in str(refused.value)
    token.refresh_from_db()
    assert token.last_used is None, "a refused token is not used"


def test_use_is_noted_once_a_minute(ann: User) -> None:
    token, secret = PersonalToken.objects.issue(ann)
    authenticate(f"Bearer {secret}")
    token.refresh_from_db()
    first = token.last_used
    assert first is not None
    authenticate(f"Bearer {secret}")
    token.refresh_from_db()
    assert token.last_used == first
    old = first - timedelta(seconds=61)
    PersonalToken.objects.update(last_used=old)
    authenticate(f"Bearer {secret}")
    token.refresh_from_db()
    assert token.last_used > old


def test_note_that_another_node_made_meanwhile_stays(ann: User) -> None:
    token, _ = PersonalToken.objects.issue(ann)
    other = timezone.now() - timedelta(seconds=10)
    PersonalToken.objects.update(last_used=other)
    token.record_use()  # which has not seen it
    token.refresh_from_db()
    assert token.last_used == other


def test_use_that_cannot_be_noted_turns_nobody_away(
    ann: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token, secret = PersonalToken.objects.issue(ann)

    def fail(self: Any) -> None:
        raise DatabaseError("read-only")

    monkeypatch.setattr(PersonalToken, "record_use", fail)
    assert authenticate(f"Bearer {secret}") is not None
    assert f"{token.hint} was not recorded: DatabaseError" in caplog.text
    assert secret not in caplog.text


def test_app_must_be_installed(settings: Any) -> None:
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if not name.endswith(".tokens")]
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["token"]}
    with pytest.raises(ImproperlyConfigured, match=r"mcp_transport\.contrib\.tokens"):
        build_authentication()


def test_unknown_option_is_refused(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": [{"BACKEND": "token", "OPTIONS": {"PREFX": "a"}}]}
    with pytest.raises(ImproperlyConfigured, match="PREFX"):
        build_authentication()
