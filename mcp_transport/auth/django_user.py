"""The user that Django's own middleware, or Channels', has authenticated."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.apps import apps

from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.principal import Principal

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

__all__ = ["authenticate", "recall"]


async def authenticate(request: HTTPRequest) -> Principal:
    """Return the Django user as a principal; without one the caller is anonymous."""
    user = request.user
    if user is None or not user.is_authenticated:
        return Principal(user=_anonymous())
    return Principal(issuer="django", subject=str(user.pk), user=user, name=user.get_username())


async def recall(binding: str, name: str) -> Principal:
    """Return the principal of a session whose request is not there any more; a user who is gone is anonymous."""
    issuer, _, subject = binding.partition("\n")
    if issuer != "django":
        return Principal(issuer=issuer, subject=subject, user=_anonymous(), name=name)
    from django.contrib.auth import get_user_model

    try:
        user = await get_user_model()._default_manager.filter(pk=subject, is_active=True).afirst()
    except (TypeError, ValueError):
        user = None  # what is no primary key is nobody's
    return Principal(issuer=issuer, subject=subject, user=user or _anonymous(), name=name)


def _anonymous() -> Any:
    kind = _anonymous_kind()
    return kind() if kind is not None else None


@cache
def _anonymous_kind() -> type[AnonymousUser] | None:
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth.models import AnonymousUser  # its module needs the app to be installed

    return AnonymousUser
