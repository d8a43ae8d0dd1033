"""Authentication classes of Django REST framework: its own, and those of the packages made for it."""

from __future__ import annotations

import base64
import importlib
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied, SuspiciousOperation
from django.utils import timezone
from knox.models import AuthToken  # type: ignore[import-untyped]
from oauth2_provider.models import AccessToken, Application  # type: ignore[import-untyped]
from rest_framework.authentication import BaseAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated
from rest_framework_simplejwt.tokens import AccessToken as SimpleAccessToken
from rest_framework_simplejwt.tokens import RefreshToken

from mcp_transport.auth.drf import DRFAuthenticator
from mcp_transport.auth.factory import build_authentication
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest

DRF_TOKEN = "rest_framework.authentication.TokenAuthentication"
BASIC = "rest_framework.authentication.BasicAuthentication"
SESSION = "rest_framework.authentication.SessionAuthentication"
SIMPLE_JWT = "rest_framework_simplejwt.authentication.JWTAuthentication"
STATELESS = "rest_framework_simplejwt.authentication.JWTStatelessUserAuthentication"
KNOX = "knox.auth.TokenAuthentication"
TOOLKIT = "oauth2_provider.contrib.rest_framework.OAuth2Authentication"
OWN = f"{__name__}.Own"

HOUR = timedelta(hours=1)


class Own(BaseAuthentication):  # type: ignore[misc]
    """A class that answers what a test tells it to."""

    answer: Any = None

    def authenticate(self, request: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def request_with(*authorizations: str, **more: Any) -> HTTPRequest:
    lines = [("Host", "testserver"), ("Content-Type", "application/json"), ("Content-Length", "100")]
    lines += [("Authorization", value) for value in authorizations]
    return HTTPRequest(method="POST", headers=Headers(lines), path="/mcp", peer="192.0.2.1", **more)


@async_to_sync
async def authenticate(classes: str | list[str], *authorizations: str, **more: Any) -> Principal | None:
    authenticator = DRFAuthenticator(classes=[classes] if isinstance(classes, str) else classes)
    return await authenticator.authenticate(request_with(*authorizations, **more))


@async_to_sync
async def pass_gate(*authorizations: str) -> Principal:
    return await build_authentication().authenticate(request_with(*authorizations))


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def drf_token(user: User) -> str:
    return f"Token {Token.objects.create(user=user).key}"


def knox_token(user: User) -> str:
    return f"Token {AuthToken.objects.create(user)[1]}"


def simple_token(user: User) -> str:
    return f"Bearer {SimpleAccessToken.for_user(user)}"


def toolkit_token(user: User | None, *, scope: str = "read", text: str = "a-token", **more: Any) -> str:
    application, _ = Application.objects.get_or_create(
        client_id="robot",
        name="Robot",
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
    )
    values = {"application": application, "expires": timezone.now() + HOUR, **more}
    AccessToken.objects.create(user=user, token=text, scope=scope, **values)
    return f"Bearer {text}"


KINDS = {
    DRF_TOKEN: drf_token,
    BASIC: lambda user: basic("ann", "a password"),
    KNOX: knox_token,
    SIMPLE_JWT: simple_token,
    STATELESS: simple_token,
    TOOLKIT: toolkit_token,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


# -- who it is -------------------------------------------------------------------------------------------


@every_kind
def test_valid_credentials_are_taken_and_others_left_alone(kind: str, ann: User) -> None:
    principal = authenticate(kind, KINDS[kind](ann))
    assert principal is not None
    assert (principal.issuer, principal.subject) == ("django", str(ann.pk))
    assert principal.user.is_authenticated
    # Credentials that know no scopes are not limited by them.
    assert principal.scopes == ({"read"} if kind == TOOLKIT else None)
    if kind != STATELESS:  # which knows no more of a user than its token says
        assert (principal.user, principal.name) == (ann, "ann")
    assert authenticate(kind) is authenticate(kind, "Digest abc") is authenticate(kind, "") is None


def expired_knox(user: User) -> str:
    return f"Token {AuthToken.objects.create(user, expiry=-HOUR)[1]}"


def expired_simple(user: User) -> str:
    token = SimpleAccessToken.for_user(user)
    token.set_exp(lifetime=-HOUR)
    return f"Bearer {token}"


WRONG: dict[str, list[str | Callable[[User], str]]] = {
    DRF_TOKEN: ["Token unknown", "Token", "Token a b", "Token \xff"],
    BASIC: [basic("ann", "wrong"), basic("bob", "a password"), "Basic", "Basic a b", "Basic %%%"],
    KNOX: ["Token unknown", "Token", "Token a b", expired_knox],
    SIMPLE_JWT: [
        *("Bearer unknown", "Bearer a.b.c", "Bearer a b c"),
        *(expired_simple, lambda user: f"Bearer {RefreshToken.for_user(user)}"),
    ],
    STATELESS: ["Bearer unknown", "Bearer a.b.c"],
}
NO_TEXT = ["\xff", "\xe9t\xe9", "a\tb", "a\x00b", "\ud7ff".encode().decode("latin-1"), "a" * 9000]


@every_kind
def test_wrong_credentials_are_refused(kind: str, ann: User) -> None:
    for wrong in WRONG.get(kind, ()):
        with pytest.raises(InvalidCredentials, match=rf"^{kind.rpartition('.')[2]} rejected them: [a-z_, ]+$"):
            authenticate(kind, wrong if isinstance(wrong, str) else wrong(ann))
    for token in NO_TEXT:
        try:
            assert authenticate(kind, f"{DRFAuthenticator(classes=[kind]).scheme} {token}") is None
        except InvalidCredentials as error:
            assert token not in str(error)
    credentials = KINDS[kind](ann)
    User.objects.update(is_active=False)
    if kind == STATELESS:
        assert authenticate(kind, credentials) is not None  # it asks nobody, on purpose
        return
    with pytest.raises(InvalidCredentials):
        authenticate(kind, credentials)


def test_token_that_the_toolkit_does_not_accept_is_none_that_it_knows(ann: User) -> None:
    assert authenticate(TOOLKIT, toolkit_token(ann, expires=timezone.now() - HOUR)) is None  # the gate refuses it
    assert authenticate(TOOLKIT, "Bearer unknown") is None


def test_two_authorizations_are_never_two_chances(ann: User) -> None:
    credentials = drf_token(ann)
    for pair in ((credentials, "Token unknown"), ("Token unknown", credentials)):
        with pytest.raises(InvalidCredentials):
            authenticate(DRF_TOKEN, *pair)


def test_user_of_the_middleware_reaches_the_class(ann: User) -> None:
    with pytest.raises(InvalidCredentials, match="permission_denied"):
        authenticate(SESSION, user=ann)  # without a CSRF token
    assert authenticate(SESSION, user=AnonymousUser()) is None


# -- several classes -------------------------------------------------------------------------------------


def test_first_class_that_knows_the_credentials_decides(ann: User) -> None:
    classes = [SIMPLE_JWT, DRF_TOKEN, BASIC]
    for kind in classes:
        principal = authenticate(classes, KINDS[kind](ann))
        assert principal is not None
        assert principal.user == ann
        Token.objects.all().delete()
    assert authenticate(classes) is None
    assert authenticate([OWN, DRF_TOKEN], drf_token(ann)) is not None, "a class without an answer makes way"
    # A Knox token has the scheme of the framework's own tokens, so who comes first refuses it.
    credentials = knox_token(ann)
    assert authenticate([KNOX, DRF_TOKEN], credentials) is not None
    with pytest.raises(InvalidCredentials):
        authenticate([DRF_TOKEN, KNOX], credentials)


# -- refusals --------------------------------------------------------------------------------------------


NOBODY = "neither a user nor a client"
REFUSED = [
    (AuthenticationFailed("the secret is s3cret"), "^Own rejected them: authentication_failed$"),
    (AuthenticationFailed({"token": ["s3cret"], "a": "b"}, code="bad"), "^Own rejected them: bad$"),
    (NotAuthenticated("s3cret"), "^Own rejected them: not_authenticated$"),
    (PermissionDenied("s3cret"), "^Own rejected them$"),
    (SuspiciousOperation("s3cret"), "^Own rejected them$"),
    ((User(username="s3cret", is_active=False), None), "not active"),
    ((None, None), NOBODY),
    ((AnonymousUser(), None), NOBODY),
    ((None, SimpleNamespace(application=None)), NOBODY),
]


@pytest.mark.parametrize(("answer", "reason"), REFUSED)
def test_reason_of_a_refusal_has_no_secret(answer: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "answer", answer)
    with pytest.raises(InvalidCredentials, match=reason) as refused:
        authenticate(OWN)
    assert "s3cret" not in repr(refused.value)


def test_class_that_cannot_judge_now_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "answer", APIException("s3cret"))
    with pytest.raises(ProtocolError) as refused:
        authenticate(OWN)
    assert refused.value.status == 503
    assert "s3cret" not in str(refused.value)


def test_gate_answers_401_and_logs_no_secret(ann: User, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for kind in (SIMPLE_JWT, TOOLKIT):
        settings.MCP_TRANSPORT = {"AUTHENTICATORS": [{"BACKEND": "drf", "OPTIONS": {"CLASSES": [kind]}}]}
        right = KINDS[kind](ann)
        assert pass_gate(right).user == ann
        for wrong in (right[:-5], "Bearer unknown-token"):
            with pytest.raises(ProtocolError) as refused:
                pass_gate(wrong)
            assert refused.value.status == 401
            assert wrong[7:] not in f"{refused.value} {refused.value.headers}"
            assert not [record for record in caplog.records if wrong.split()[1] in record.getMessage()]


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        (DRF_TOKEN, "Token"),
        (KNOX, "Token"),
        (BASIC, "Basic"),
        (SIMPLE_JWT, "Bearer"),
        (TOOLKIT, "Bearer"),
        (SESSION, "Bearer"),  # which asks for nothing
    ],
)
def test_scheme_is_that_of_the_first_class(kind: str, scheme: str) -> None:
    assert DRFAuthenticator(classes=[kind, OWN]).scheme == scheme


def test_schemes_are_asked_for_together(settings: Any) -> None:
    entries = [{"BACKEND": "drf", "OPTIONS": {"CLASSES": [kind]}} for kind in (DRF_TOKEN, BASIC, SIMPLE_JWT)]
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": entries}
    with pytest.raises(ProtocolError) as refused:
        pass_gate()
    assert refused.value.headers[0][1].startswith("Bearer")
    assert {"Token", "Basic"} <= set(refused.value.headers[0][1].replace(",", "").split())


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "must be a list"),
        (DRF_TOKEN, "must be a list"),
        (["no.such.Class"], "'no.such.Class' of 'drf' cannot be imported"),
        (["rest_framework.authentication.NoSuch"], "cannot be imported"),
        (["TokenAuthentication"], "cannot be imported"),
        (["datetime.timedelta"], "is not an authentication class"),
    ],
)
def test_wrong_classes_are_refused(classes: Any, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        DRFAuthenticator(classes=classes)


def test_class_whose_models_are_not_installed_is_refused(settings: Any) -> None:
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "knox"]
    names = [name for name in sys.modules if name.startswith("knox")]
    kept = {name: sys.modules.pop(name) for name in names}
    try:
        with pytest.raises(ImproperlyConfigured, match=r"'knox\.auth\.TokenAuthentication' of 'drf' cannot be"):
            DRFAuthenticator(classes=[KNOX])
    finally:
        sys.modules.update(kept)


def test_classes_must_be_named(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["drf"]}
    with pytest.raises(ImproperlyConfigured, match="classes"):
        build_authentication()


def test_framework_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rest_framework.exceptions", None)
    monkeypatch.delitem(sys.modules, "mcp_transport.auth.drf")
    with pytest.raises(ImproperlyConfigured, match=r"django-mcp-transport\[rest\]"):
        importlib.import_module("mcp_transport.auth.drf")
