"""Logs the user of a test client in, through Django's sessions."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.middleware.csrf import CSRF_SESSION_KEY, get_token
from django.test.client import AsyncClient

from mcp_transport import conf

__all__ = ["check_login", "log_in"]


def log_in(client: AsyncClient, user: Any) -> dict[str, str]:
    """Log a user in as `Client.force_login` does; return the CSRF headers.

    Raises: ImproperlyConfigured if the project has no sessions.
    """
    _require_sessions()
    client.force_login(user)
    request = HttpRequest()
    token, secret = get_token(request), request.META["CSRF_COOKIE"]
    if settings.CSRF_USE_SESSIONS:
        session = client.session
        session[CSRF_SESSION_KEY] = secret
        session.save()
    else:
        client.cookies[settings.CSRF_COOKIE_NAME] = secret
    return {settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-").lower(): token}


def check_login(request: HttpRequest | None) -> None:
    """Check that a view's request can have a user; the request of an ASGI application (None) is not checked.

    Raises: ImproperlyConfigured if nothing reads the session.
    """
    if request is not None and not hasattr(request, "user") and "session" not in conf.get("AUTHENTICATORS"):
        raise ImproperlyConfigured(
            "MCPClient(user=...): nothing reads the session's user; MIDDLEWARE needs Django's SessionMiddleware and "
            "AuthenticationMiddleware"
        )


def _require_sessions() -> None:
    for app in ("django.contrib.auth", "django.contrib.sessions"):
        if not apps.is_installed(app):
            raise ImproperlyConfigured(
                f'MCPClient(user=...) logs in through Django\'s sessions, which require "{app}" in INSTALLED_APPS; '
                "MCPClient(token=...) and MCPClient(headers=...) do not"
            )
