"""Django's session cookie, where no middleware runs, and the CSRF token that goes with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.test import Client
from django.utils import timezone

from mcp_transport.auth.factory import build_authentication
from mcp_transport.auth.session_cookie import SessionAuthenticator
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from tests.auth.test_django_request import request_with

ENGINES = ["db", "cache", "cached_db", "file", "signed_cookies"]


@async_to_sync
async def authenticate(*headers: tuple[str, str], **options: Any) -> Principal | None:
    return await SessionAuthenticator().authenticate(request_with(*headers, **options))


@pytest.fixture(scope="session")
def session_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("sessions"))  # one for all tests: Django asks for it once in a process


@pytest.fixture
def ann(ann: User, session_files: str, settings: Any) -> User:
    settings.SESSION_FILE_PATH = session_files
    return ann


def log_in(user: User) -> tuple[str, str]:
    """Return the Cookie header of somebody who is logged in."""
    client = Client()
    client.force_login(user)
    return "Cookie", f"theme=dark; sessionid={client.cookies['sessionid'].value}"


def csrf() -> tuple[str, str]:
    """Return a CSRF cookie, and the masked token that a page has."""
    request = HttpRequest()
    token = get_token(request)
    return f"csrftoken={request.META['CSRF_COOKIE']}", token


# -- who is logged in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_somebody_who_is_logged_in_is_recognised(engine: str, ann: User, settings: Any) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    client = Client()
    client.force_login(ann)
    cookie = "Cookie", f"sessionid={client.cookies['sessionid'].value}"
    principal = authenticate(cookie)
    assert principal is not None
    assert principal.user == ann
    assert (principal.issuer, principal.subject, principal.name) == ("django", str(ann.pk), "ann")
    assert principal.scopes is None
    if engine != "signed_cookies":  # which lives at the client's alone
        client.logout()
        assert authenticate(cookie) is None
    for key in ("unknownunknownunknownunknown1234", "short", "a:b:c", "../../../etc/passwd", '""'):
        assert authenticate(("Cookie", f"sessionid={key}")) is None
    cookie = log_in(ann)
    assert authenticate(cookie) is not None
    ann.set_password("another")
    ann.save()
    assert authenticate(cookie) is None, "a changed password ends the session"


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", "Bearer mcp_abc"),
        *(
            ("Cookie", text)
            for text in ("", "sessionid", "sessionid=", "theme=dark", "Sessionid=abc", ";;;=", "\xff\xe9")
        ),
    ],
)
def test_request_without_a_session_cookie_is_nobodys(header: tuple[str, str]) -> None:
    assert authenticate(header) is None  # and needs no database


def test_session_in_which_nobody_is_logged_in_is_nobodys(ann: User) -> None:
    client = Client()
    client.session.save()
    session = client.session
    session["basket"] = ["mug-blue"]
    session.save()
    assert authenticate(("Cookie", f"sessionid={session.session_key}")) is None


def test_name_of_the_cookie_is_the_settings(ann: User, settings: Any) -> None:
    name, value = log_in(ann)
    settings.SESSION_COOKIE_NAME = "shop"
    assert authenticate((name, value)) is None
    assert authenticate((name, value.replace("sessionid", "shop"))) is not None


def test_cookies_may_come_on_several_lines(ann: User) -> None:
    assert authenticate(("Cookie", "theme=dark"), log_in(ann)) is not None


@pytest.mark.parametrize("backend", ["ModelBackend", "AllowAllUsersModelBackend"])
def test_inactive_user_is_nobody(backend: str, ann: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"django.contrib.auth.backends.{backend}"]
    cookie = log_in(ann)
    User.objects.update(is_active=False)
    assert authenticate(cookie) is None


@pytest.mark.parametrize("ends", ["expired", "user deleted", "password changed"])
def test_session_that_has_ended_is_nobodys_and_left_to_django(ends: str, ann: User) -> None:
    cookie = log_in(ann)
    if ends == "expired":
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    elif ends == "user deleted":
        ann.delete()
    else:
        ann.set_password("another")
        ann.save()
    assert authenticate(cookie) is None
    assert Session.objects.count() == 1


def test_session_under_an_old_secret_key_stays_as_it_is(ann: User, settings: Any) -> None:
    cookie = log_in(ann)
    before = Session.objects.values().get()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a-newer-key-for-tests-only-which-protects-nothing"
    # Django renews such a session under a new key, of which this client would never learn.
    assert authenticate(cookie) is not None
    assert authenticate(cookie) is not None
    assert Session.objects.values().get() == before


def test_users_must_be_installed(settings: Any) -> None:
    settings.INSTALLED_APPS = ["django.contrib.contenttypes", "mcp_transport"]
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["session"]}
    with pytest.raises(ImproperlyConfigured, match=r"django\.contrib\.auth"):
        build_authentication()


# -- cross-site requests ---------------------------------------------------------------------------------


def test_reading_needs_no_csrf_token(ann: User) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert authenticate(log_in(ann), method=method) is not None


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_other_methods_need_the_csrf_token(method: str, ann: User) -> None:
    name, value = log_in(ann)
    (cookie, token), (_, other) = csrf(), csrf()
    with_cookie, unmasked = f"{value}; {cookie}", cookie.partition("=")[2]
    for right in (token, unmasked):
        assert authenticate((name, with_cookie), ("X-CSRFToken", right), method=method) is not None
    for cookies, sent in (
        (value, token),
        (f"{value}; csrftoken=a", token),
        (with_cookie, None),
        (with_cookie, other),
        (with_cookie, "a b"),
    ):
        headers = [] if sent is None else [("X-CSRFToken", sent)]
        with pytest.raises(InvalidCredentials, match="the CSRF check of a session failed: CSRF") as refused:
            authenticate((name, cookies), *headers, method=method)
        for secret in (token, other, unmasked, value.rpartition("=")[2]):
            assert secret not in str(refused.value)
    assert authenticate(("Cookie", "sessionid=unknownunknown"), method=method) is None, "nobody needs none"


def test_name_of_the_csrf_header_is_the_settings(ann: User, settings: Any) -> None:
    settings.CSRF_HEADER_NAME, settings.CSRF_COOKIE_NAME = "HTTP_X_XSRF_TOKEN", "xsrf"
    name, value = log_in(ann)
    cookie, token = csrf()
    cookies = (name, f"{value}; xsrf={cookie.partition('=')[2]}")
    assert authenticate(cookies, ("X-XSRF-Token", token), method="POST") is not None
    with pytest.raises(InvalidCredentials):
        authenticate(cookies, ("X-CSRFToken", token), method="POST")


def test_csrf_secret_may_be_in_the_session(ann: User, settings: Any) -> None:
    settings.CSRF_USE_SESSIONS = True
    client = Client()
    client.force_login(ann)
    request = HttpRequest()
    session = request.session = client.session
    token = get_token(request)
    session["_csrftoken"] = request.META["CSRF_COOKIE"]
    session.save()
    cookie = ("Cookie", f"sessionid={session.session_key}")
    assert authenticate(cookie, ("X-CSRFToken", token), method="POST") is not None
    with pytest.raises(InvalidCredentials):
        authenticate(cookie, ("X-CSRFToken", csrf()[1]), method="POST")


@pytest.mark.parametrize(
    ("url", "origin", "passes"),
    [
        ("", "http://testserver", True),
        ("", "https://testserver", False),
        ("", "http://evil.example", False),
        ("", "null", False),
        ("", "https://app.example", True),
        ("https://testserver/mcp", "https://testserver", True),
        ("https://testserver/mcp", "http://testserver", False),
    ],
)
def test_origin_must_be_ours_or_trusted(url: str, origin: str, passes: bool, ann: User, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": url}
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.example"]
    name, value = log_in(ann)
    cookie, token = csrf()
    headers = [(name, f"{value}; {cookie}"), ("X-CSRFToken", token), ("Origin", origin)]
    if passes:
        assert authenticate(*headers, method="POST") is not None
    else:
        with pytest.raises(InvalidCredentials, match="Origin checking failed"):
            authenticate(*headers, method="POST")


def test_https_request_needs_an_origin_or_a_referer(ann: User, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    name, value = log_in(ann)
    cookie, token = csrf()
    headers = [(name, f"{value}; {cookie}"), ("X-CSRFToken", token), ("X-Forwarded-Proto", "https")]
    with pytest.raises(InvalidCredentials, match="no Referer"):
        authenticate(*headers, method="POST")
    assert authenticate(*headers, ("Referer", "https://testserver/shop"), method="POST") is not None
    assert authenticate(*headers, ("Origin", "https://testserver"), method="POST") is not None
    # An underscore does not pass for the hyphen that the proxy would have overwritten.
    spoofed = [*headers[:2], ("X_Forwarded_Proto", "https")]
    assert authenticate(*spoofed, method="POST") is not None
