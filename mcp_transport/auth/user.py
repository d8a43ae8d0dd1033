"""Django users as principals: the user of the project's middleware, and lookups of other users."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.apps import apps

from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

__all__ = ["ISSUER", "UserAuthenticator", "anonymous_user", "find_principal", "find_user", "principal_of"]

ISSUER: Final = "django"
"""The issuer of principals that are this project's own users, however they authenticated."""


class UserAuthenticator(Authenticator):
    """Authenticates the user that Django's or Channels' middleware has set on the request."""

    scheme: ClassVar[str] = "Session"

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        user = request.user
        return None if user is None or not user.is_authenticated else principal_of(user)

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return await find_principal(issuer, subject)


async def find_principal(issuer: str, subject: str) -> Principal | None:
    """Return the Django user with a principal's issuer and subject, without scopes; None for other issuers."""
    user = await find_user("pk", subject) if issuer == ISSUER else None
    return principal_of(user, frozenset()) if user is not None else None


def principal_of(user: Any, scopes: frozenset[str] | None = None) -> Principal:
    """Return the principal of a Django user; with `scopes=None`, only the user's permissions limit it."""
    return Principal(issuer=ISSUER, subject=str(user.pk), user=user, name=user.get_username(), scopes=scopes)


async def find_user(field: str, value: str) -> Any:
    """Return the active user whose field has this value, or None."""
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth import get_user_model

    def find() -> Any:
        try:
            return get_user_model()._default_manager.filter(**{field: value}).first()
        except (TypeError, ValueError):
            return None  # the value is not valid for the field

    user = await in_thread(find)
    return user if user is not None and user.is_active else None


def anonymous_user() -> Any:
    """Return Django's AnonymousUser, or None in a project without users."""
    kind = _anonymous_kind()
    return kind() if kind is not None else None


@cache
def _anonymous_kind() -> type[AnonymousUser] | None:
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth.models import AnonymousUser  # requires the app to be installed

    return AnonymousUser
