"""Django users as principals."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps

from mcp_transport.domain.principal import Principal
from mcp_transport.threads import in_thread

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

__all__ = ["ISSUER", "anonymous_user", "find_user", "principal_of", "restored_user"]

ISSUER: Final = "django"
"""The issuer of principals that are this project's own users, however they authenticated."""


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


async def restored_user(issuer: str, subject: str) -> Principal | None:
    """Return the principal of an active user, for `principal_without_request`; None for any other."""
    user = await find_user("pk", subject) if issuer == ISSUER else None
    return principal_of(user) if user is not None else None


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
