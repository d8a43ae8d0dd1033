"""Django's session cookie, read from the request itself, so that no middleware is needed."""

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
from mcp_transport.auth.user import principal_of, recall_user
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread

__all__ = ["SessionAuthenticator"]


class SessionAuthenticator(Authenticator):
    """Takes the user who is logged in to the site, by the session cookie; for pages in a browser.

    A browser sends that cookie along with requests of other sites, too, so POST and DELETE need Django's CSRF token,
    in the header that Django expects it in. The session is read, never written: its end is not put off.
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
        asked = django_request(request)
        key = asked.COOKIES.get(settings.SESSION_COOKIE_NAME)
        user = await in_thread(partial(_logged_in, asked, key, request.user)) if key else None
        return principal_of(user) if user is not None else None

    async def recall(self, issuer: str, subject: str) -> Principal | None:
        return await recall_user(issuer, subject)


def _is_anonymous(request: HTTPRequest) -> bool:
    """Tell whether the project's middleware has run, and says that nobody is logged in, whatever the session says."""
    if request.user is not None:
        return not request.user.is_authenticated
    # `auser` stays where middleware has deleted the user that came with it.
    return any(name in getattr(request.source, "__dict__", ()) for name in ("user", "auser"))


def _logged_in(request: HttpRequest, key: str, known: Any) -> Any:
    """Return the session's user, or whom the project's middleware has made of it."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request.session = cast(SessionBase, _Contents(store.load()))
    user = get_user(request) if known is None else known  # which also compares the session with the password
    if not user.is_authenticated or not user.is_active:
        return None
    check = _CSRFCheck(_no_response)
    check.process_request(request)
    if reason := check.process_view(request, _no_response, (), {}):
        raise InvalidCredentials(f"the CSRF check of a session failed: {reason}")
    return user


class _Contents(dict[str, Any]):
    """What a session holds, for get_user().

    That renews a session whose key is an old one, or ends it; from here, the client would not learn its new cookie.
    """

    def cycle_key(self) -> None: ...

    def flush(self) -> None: ...


class _CSRFCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _no_response(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError
