"""Whom `request.user` names, read where the request lives."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.functional import LazyObject, SimpleLazyObject, empty

__all__ = ["request_user"]

# What Django's AuthenticationMiddleware puts on requests. Named, not imported: its module needs the app's models.
_MIDDLEWARE: Final = "django.contrib.auth.middleware"
_USER: Final = (_MIDDLEWARE, "AuthenticationMiddleware.process_request.<locals>.<lambda>")
_AUSER: Final = (_MIDDLEWARE, "auser")


async def request_user(request: HttpRequest) -> Any:
    """Return the user whom the project's middleware has left on a request; None without such middleware.

    `request.auser()` reads the session by itself and knows nothing of middleware that has set another user, or taken
    the user away; it is asked only while nothing has replaced what Django's AuthenticationMiddleware has put there.
    """
    if not hasattr(type(request), "user") and "user" not in request.__dict__:
        return None
    user = request.__dict__.get("user")
    if user is None or (isinstance(user, LazyObject) and user._wrapped is empty):
        if _is_djangos_own(request):
            return await request.auser()
        return await sync_to_async(_evaluated, thread_sensitive=True)(request)
    return user


def _is_djangos_own(request: HttpRequest) -> bool:
    """Tell whether `user` and `auser` are those of Django's middleware, so that both find the same user."""
    user, auser = request.__dict__.get("user"), request.__dict__.get("auser")
    return (
        type(user) is SimpleLazyObject
        and _name(user.__dict__.get("_setupfunc")) == _USER
        and isinstance(auser, partial)
        and _name(auser.func) == _AUSER
        and "_cached_user" not in request.__dict__  # which some set, and `auser` does not read
    )


def _name(function: Any) -> tuple[str, str]:
    return getattr(function, "__module__", ""), getattr(function, "__qualname__", "")


def _evaluated(request: HttpRequest) -> Any:
    """Read the user in the thread of the request, where middleware has set up connections."""
    user = request.user
    if isinstance(user, LazyObject):
        bool(user.is_authenticated)  # which evaluates it
    return user
