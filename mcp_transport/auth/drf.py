"""The authentication classes of Django REST framework, and of the many packages made for it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured, PermissionDenied, SuspiciousOperation
from django.utils.module_loading import import_string

from mcp_transport.auth.authenticator import Authenticator, unavailable
from mcp_transport.auth.django_request import django_request
from mcp_transport.auth.user import anonymous_user, principal_of, recall_user
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread

try:
    from rest_framework.exceptions import APIException
    from rest_framework.request import Request
except ImportError as error:
    raise ImproperlyConfigured(
        "the authenticator 'drf' needs Django REST framework: pip install 'django-mcp-transport[rest]'"
    ) from error

__all__ = ["CLIENT_ISSUER", "DRFAuthenticator"]

CLIENT_ISSUER: Final = "django-client"
"""The issuer of principals that are OAuth clients on their own behalf, without a user."""


class DRFAuthenticator(Authenticator):
    """Takes what any of some authentication classes takes; the first that knows a request's credentials decides."""

    def __init__(self, *, classes: Sequence[str]) -> None:
        """Take dotted paths, such as `rest_framework.authentication.TokenAuthentication`.

        Raises:
            ImproperlyConfigured: there are none, or one cannot be imported.
        """
        if isinstance(classes, str) or not classes:
            raise ImproperlyConfigured("MCP_TRANSPORT['AUTHENTICATORS']: CLASSES of 'drf' must be a list of classes")
        self._kinds = [_imported(path) for path in classes]
        self._scheme = self._challenged_scheme()

    @property
    def scheme(self) -> str:
        """Return the scheme that the first class asks for."""
        return self._scheme

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        return await in_thread(partial(self._recognised, request))

    async def recall(self, issuer: str, subject: str) -> Principal | None:
        return await recall_user(issuer, subject)

    def _recognised(self, request: HTTPRequest) -> Principal | None:
        known = [kind() for kind in self._kinds]
        asked = Request(django_request(request), authenticators=known)
        for authentication in known:
            if (found := _tried(authentication, asked)) is not None:
                return _principal(*found)
        return None

    def _challenged_scheme(self) -> str:
        asked = Request(django_request(HTTPRequest(method="POST", headers=Headers(()))))
        challenge = self._kinds[0]().authenticate_header(asked) or ""
        return (challenge.split() or ["Bearer"])[0]


def _imported(path: str) -> Any:
    try:
        kind = import_string(path)
    except (ImportError, RuntimeError) as error:  # RuntimeError: its models are in no installed app
        raise ImproperlyConfigured(
            f"MCP_TRANSPORT['AUTHENTICATORS']: the class {path!r} of 'drf' cannot be imported: {error}"
        ) from error
    if not callable(getattr(kind, "authenticate", None)):
        raise ImproperlyConfigured(f"MCP_TRANSPORT['AUTHENTICATORS']: {path!r} is no authentication class")
    return kind


def _tried(authentication: Any, request: Any) -> tuple[Any, Any] | None:
    name = type(authentication).__name__
    try:
        found: tuple[Any, Any] | None = authentication.authenticate(request)
    except (PermissionDenied, SuspiciousOperation, UnicodeError):  # UnicodeError: Knox decodes what may be no text
        raise InvalidCredentials(f"{name} refused them") from None
    except APIException as error:
        if error.status_code >= 500:
            raise unavailable("the credentials cannot be judged now") from error
        # Its codes alone: a class's own words could repeat the secret.
        codes = ", ".join(dict.fromkeys(_codes(error.get_codes())))
        raise InvalidCredentials(f"{name} refused them: {codes}") from None
    return found


def _codes(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    else:
        for item in found.values() if isinstance(found, dict) else found:
            yield from _codes(item)


def _principal(user: Any, credential: Any) -> Principal:
    scopes = _scopes(credential)
    if user is None or not user.is_authenticated:
        return _client(getattr(credential, "application", None), scopes)
    if not getattr(user, "is_active", True):
        raise InvalidCredentials("the user of the credentials is not active")
    return principal_of(user, scopes)


def _client(application: Any, scopes: frozenset[str] | None) -> Principal:
    """Return a client of django-oauth-toolkit that acts for itself (RFC 6749, 4.4)."""
    if not (client := getattr(application, "client_id", "")):
        raise InvalidCredentials("the credentials name neither a user nor a client")
    return Principal(
        issuer=CLIENT_ISSUER,
        subject=f"client:{client}",
        user=anonymous_user(),
        name=application.name or client,
        scopes=scopes or frozenset(),
    )


def _scopes(credential: Any) -> frozenset[str] | None:
    """Return the scopes that a credential lists, as text or one by one; None when it knows of none."""
    readers: tuple[Callable[[Any, str], Any], ...] = (getattr, operator.getitem)
    for name in ("scopes", "scope"):
        for read in readers:
            try:
                listed = read(credential, name)
            except (AttributeError, LookupError, TypeError):
                continue
            if isinstance(listed, str):
                return frozenset(listed.split())
            return frozenset(map(str, listed)) if isinstance(listed, Iterable) else frozenset()
    return None
