"""Authentication by Django's session cookie, without middleware."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.auth.django_request import django_request
from mcp_transport.auth.user import principal_of, restored_user
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread

__all__ = ["SessionAuthenticator"]


class SessionAuthenticator(Authenticator):
    """Authenticates the user who is logged in to the site by the session cookie, for pages in a browser.

    A browser sends the cookie with requests of other sites, too, so POST and DELETE need Django's CSRF token in the
    header CSRF_HEADER_NAME. The session is only read: its expiry is not extended.
    """

    scheme = "Session"

    def __init__(self) -> None:
        if not apps.is_installed("django.contrib.auth"):
            raise ImproperlyConfigured(
                "MCP_TRANSPORT['AUTHENTICATORS']: 'session' needs \"django.contrib.auth\" in INSTALLED_APPS"
            )

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        if "cookie" not in request.headers or _is_anonymous(request):
            return None
        http_request = django_request(request)
        key = http_request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        user = await in_thread(partial(_session_user, http_request, key, request.user)) if key else None
        return principal_of(user) if user is not None else None

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return await restored_user(issuer, subject)


def _is_anonymous(request: HTTPRequest) -> bool:
    """Return whether the project's middleware has run and set no authenticated user; it overrides the session."""
    if request.user is not None:
        return not request.user.is_authenticated
    # `auser` stays on a request from which middleware has deleted the user.
    return any(name in getattr(request.source, "__dict__", ()) for name in ("user", "auser"))


def _session_user(request: HttpRequest, key: str, user: Any) -> Any:
    """Return the session's user, or the `user` that the project's middleware has set."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request.session = cast(SessionBase, _ReadOnlySession(store.load()))
    user = get_user(request) if user is None else user  # get_user() also verifies the session's password hash
    if not user.is_authenticated or not user.is_active:
        return None
    check = _CSRFCheck(_no_response)
    check.process_request(request)
    if reason := check.process_view(request, _no_response, (), {}):
        raise InvalidCredentials(f"the CSRF check of a session failed: {reason}")
    return user


class _ReadOnlySession(dict[str, Any]):
    """The data of a session for get_user(), which would renew or flush a session with an outdated hash.

    The client would not receive the new cookie from here.
    """

    def cycle_key(self) -> None: ...

    def flush(self) -> None: ...


class _CSRFCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _no_response(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError
