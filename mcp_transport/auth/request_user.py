"""The user that the project's middleware has set on a request."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.functional import LazyObject, SimpleLazyObject, empty

from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.auth.user import principal_of, restored_user
from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["UserAuthenticator", "request_user"]

# The function in the SimpleLazyObject of AuthenticationMiddleware. By name: importing its module needs models.
_GETTER: Final = ("django.contrib.auth.middleware", "AuthenticationMiddleware.process_request.<locals>.<lambda>")


class UserAuthenticator(Authenticator):
    """Authenticates the user that Django's or Channels' middleware has set on the request."""

    scheme: ClassVar[str] = "Session"

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        user = request.user
        return None if user is None or not user.is_authenticated else principal_of(user)

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return await restored_user(issuer, subject)


async def request_user(request: HttpRequest) -> Any:
    """Return the user of a Django request, evaluated in its thread; None without such middleware.

    Not `request.auser()`: it bypasses middleware that has replaced the user, and the synchronous methods of a
    project's authentication backend or session store.
    """
    if hasattr(type(request), "user"):
        return await _evaluated(request)
    user = request.__dict__.get("user")
    if not isinstance(user, LazyObject) or user._wrapped is not empty:
        return user
    return _evaluate(request) if _is_anonymous(request, user) else await _evaluated(request)


def _is_anonymous(request: HttpRequest, user: Any) -> bool:
    """Return whether Django's own middleware will set AnonymousUser without a query, since there is no session."""
    getter, session = user.__dict__.get("_setupfunc"), getattr(request, "session", None)
    return (
        type(user) is SimpleLazyObject
        and (getattr(getter, "__module__", ""), getattr(getter, "__qualname__", "")) == _GETTER
        and "_cached_user" not in request.__dict__
        and getattr(session, "session_key", "") is None
        and not getattr(session, "_session_cache", None)
    )


async def _evaluated(request: HttpRequest) -> Any:
    return await sync_to_async(_evaluate, thread_sensitive=True)(request)


def _evaluate(request: HttpRequest) -> Any:
    """Evaluate the user in the thread of the request, where middleware has set up connections."""
    user = request.user
    if isinstance(user, LazyObject):
        bool(user.is_authenticated)  # evaluates the lazy object
    return user
