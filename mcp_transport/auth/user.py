"""Django's users: whom the project's own middleware has authenticated, and how others are found again."""

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

__all__ = ["ISSUER", "UserAuthenticator", "anonymous_user", "find_user", "principal_of", "recall_user"]

ISSUER: Final = "django"
"""The issuer of principals that are this project's own users, whatever proved it."""


class UserAuthenticator(Authenticator):
    """Takes the user whom Django's own middleware, or Channels', has authenticated."""

    scheme: ClassVar[str] = "Session"

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        user = request.user
        return None if user is None or not user.is_authenticated else principal_of(user)

    async def recall(self, issuer: str, subject: str) -> Principal | None:
        return await recall_user(issuer, subject)


async def recall_user(issuer: str, subject: str) -> Principal | None:
    """Return one of Django's users by a principal's issuer and subject, without scopes; None for anybody else."""
    user = await find_user("pk", subject) if issuer == ISSUER else None
    return principal_of(user, frozenset()) if user is not None else None


def principal_of(user: Any, scopes: frozenset[str] | None = None) -> Principal:
    """Return one of Django's users as a principal; without scopes, nothing but their permissions limits them."""
    return Principal(issuer=ISSUER, subject=str(user.pk), user=user, name=user.get_username(), scopes=scopes)


async def find_user(field: str, value: str) -> Any:
    """Return the active user with a value, or None."""
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth import get_user_model

    def find() -> Any:
        try:
            return get_user_model()._default_manager.filter(**{field: value}).first()
        except (TypeError, ValueError):
            return None  # what is no primary key is nobody's

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
    from django.contrib.auth.models import AnonymousUser  # its module needs the app to be installed

    return AnonymousUser
