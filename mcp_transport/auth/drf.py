"""Authentication with the classes of Django REST framework and of packages for it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured, PermissionDenied, SuspiciousOperation
from django.utils.module_loading import import_string

from mcp_transport.auth.authenticator import Authenticator, unavailable
from mcp_transport.auth.django_request import django_request
from mcp_transport.auth.user import anonymous_user, principal_of, restored_user
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
"""The issuer of principals that are OAuth clients acting on their own behalf, without a user."""


class DRFAuthenticator(Authenticator):
    """Authenticates with REST framework classes; the first one that recognizes the credentials decides."""

    def __init__(self, *, classes: Sequence[str]) -> None:
        """Import the classes from dotted paths, such as `rest_framework.authentication.TokenAuthentication`.

        Raises:
            ImproperlyConfigured: there are no classes, or one cannot be imported.
        """
        if isinstance(classes, str) or not classes:
            raise ImproperlyConfigured("MCP_TRANSPORT['AUTHENTICATORS']: CLASSES of 'drf' must be a list of classes")
        self._kinds = [_import_class(path) for path in classes]
        self._scheme = self._scheme_of_challenge()

    @property
    def scheme(self) -> str:
        """Return the scheme of the first class's challenge."""
        return self._scheme

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        return await in_thread(partial(self._authenticate, request))

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return await restored_user(issuer, subject)

    def _authenticate(self, request: HTTPRequest) -> Principal | None:
        classes = [kind() for kind in self._kinds]
        drf_request = Request(django_request(request), authenticators=classes)
        for authentication in classes:
            if (result := _try_class(authentication, drf_request)) is not None:
                return _principal(*result)
        return None

    def _scheme_of_challenge(self) -> str:
        drf_request = Request(django_request(HTTPRequest(method="POST", headers=Headers(()))))
        challenge = self._kinds[0]().authenticate_header(drf_request) or ""
        return (challenge.split() or ["Bearer"])[0]


def _import_class(path: str) -> Any:
    try:
        kind = import_string(path)
    except (ImportError, RuntimeError) as error:  # RuntimeError: its models belong to no installed app
        raise ImproperlyConfigured(
            f"MCP_TRANSPORT['AUTHENTICATORS']: the class {path!r} of 'drf' cannot be imported: {error}"
        ) from error
    if not callable(getattr(kind, "authenticate", None)):
        raise ImproperlyConfigured(f"MCP_TRANSPORT['AUTHENTICATORS']: {path!r} is not an authentication class")
    return kind


def _try_class(authentication: Any, request: Any) -> tuple[Any, Any] | None:
    name = type(authentication).__name__
    try:
        result: tuple[Any, Any] | None = authentication.authenticate(request)
    except (PermissionDenied, SuspiciousOperation, UnicodeError):  # UnicodeError: Knox decodes arbitrary bytes
        raise InvalidCredentials(f"{name} rejected them") from None
    except APIException as error:
        if error.status_code >= 500:
            raise unavailable("the credentials cannot be verified now") from error
        # Only the codes: the message of a class could repeat the secret.
        codes = ", ".join(dict.fromkeys(_flat_codes(error.get_codes())))
        raise InvalidCredentials(f"{name} rejected them: {codes}") from None
    return result


def _flat_codes(codes: Any) -> Iterator[str]:
    if isinstance(codes, str):
        yield codes
    else:
        for item in codes.values() if isinstance(codes, dict) else codes:
            yield from _flat_codes(item)


def _principal(user: Any, credential: Any) -> Principal:
    scopes = _scopes(credential)
    if user is None or not user.is_authenticated:
        return _client(getattr(credential, "application", None), scopes)
    if not getattr(user, "is_active", True):
        raise InvalidCredentials("the user of the credentials is not active")
    return principal_of(user, scopes)


def _client(application: Any, scopes: frozenset[str] | None) -> Principal:
    """Return the principal of a django-oauth-toolkit client that acts on its own behalf (RFC 6749, 4.4)."""
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
    """Return a credential's scopes, a string or an iterable of strings; None if it has no such attribute or key."""
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
