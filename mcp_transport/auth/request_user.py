"""Whom `request.user` names, read where the request lives."""

from __future__ import annotations

from typing import Any, Final

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.functional import LazyObject, SimpleLazyObject, empty

__all__ = ["request_user"]

# What Django's AuthenticationMiddleware puts on requests. Named, not imported: its module needs the app's models.
_DJANGOS: Final = ("django.contrib.auth.middleware", "AuthenticationMiddleware.process_request.<locals>.<lambda>")


async def request_user(request: HttpRequest) -> Any:
    """Return the user whom the project's middleware has left on a request; None without such middleware.

    Not `request.auser()`: it takes a way of its own, past middleware that has replaced the user, and past what a
    project's authentication backend or session store does in its synchronous methods alone.
    """
    if hasattr(type(request), "user"):
        return await _evaluated(request)
    user = request.__dict__.get("user")
    if not isinstance(user, LazyObject) or user._wrapped is not empty:
        return user
    return _evaluate(request) if _is_nobody(request, user) else await _evaluated(request)


def _is_nobody(request: HttpRequest, user: Any) -> bool:
    """Tell whether Django's own middleware finds nobody, without a query: there is no session that could name one."""
    found_by, session = user.__dict__.get("_setupfunc"), getattr(request, "session", None)
    return (
        type(user) is SimpleLazyObject
        and (getattr(found_by, "__module__", ""), getattr(found_by, "__qualname__", "")) == _DJANGOS
        and "_cached_user" not in request.__dict__
        and getattr(session, "session_key", "") is None
        and not getattr(session, "_session_cache", None)
    )


async def _evaluated(request: HttpRequest) -> Any:
    return await sync_to_async(_evaluate, thread_sensitive=True)(request)


def _evaluate(request: HttpRequest) -> Any:
    """Read the user in the thread of the request, where middleware has set up connections."""
    user = request.user
    if isinstance(user, LazyObject):
        bool(user.is_authenticated)  # which evaluates it
    return user
